#pragma once

#include "core/arithmetic.h"

// The denominators of pairs of values x_i, x_j: of real eigenvalues, of singular values, or of the complex eigenvalues
// of general matrices. Templates for tensors, for one pair in each SIMD lane, and for single numbers.
namespace spectralgrad::math {

enum class Denominator {
  difference, // x_j - x_i; 0 for i = j
  sum, // x_j + x_i, for x >= 0
  value, // x_j, for x >= 0: the difference to a value 0 that is not among them
};

template <typename Number>
SPECTRALGRAD_INLINE Number denominator(Denominator kind, const Number& x_i, const Number& x_j) {
  return kind == Denominator::difference ? x_j - x_i : kind == Denominator::sum ? x_j + x_i : x_j;
}

/// Returns 1/4 if sums or differences of the values may overflow, else 1. Values are multiplied by it before they are
/// added or subtracted. `largest` is the largest absolute value of any of them, or of any part of a complex one.
template <Arithmetic A>
SPECTRALGRAD_INLINE typename A::Number headroom(const typename A::Number& largest) {
  const auto limit = A::number_like(A::largest_number(largest) / 4, largest);
  return A::select(limit < largest, A::number_like(0.25, largest), A::number_like(1, largest));
}

/// The unit in which quotients are formed: max|x|, so that they commute with scaling the matrix, or the half-width of
/// the rule if that is absolute and larger, so that no quotient overflows. It is 1 if all of these are 0.
template <Arithmetic A>
struct DenominatorUnit {
  using Number = typename A::Number;

  Number headroom;
  Number size; // the unit, times `headroom`

  /// `largest` is max|x|, times `headroom`. `absolute_width` is zero or the half-width, not multiplied.
  SPECTRALGRAD_INLINE DenominatorUnit(
      const Number& largest,
      const Number& headroom,
      const typename A::Value& absolute_width)
      : headroom(headroom), size(largest) {
    if (absolute_width > 0) {
      size = A::larger(largest, A::number_like(absolute_width, headroom) * headroom);
    }
    size = A::select(size == A::number_like(0, size), A::number_like(1, size), size);
  }
};

} // namespace spectralgrad::math
