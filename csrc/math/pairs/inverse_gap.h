#pragma once

#include <limits>

// The formulas of gaps.h for single numbers or for one pair in each SIMD lane. Free of LibTorch, so that this file can
// be compiled for every instruction set. `Arithmetic` provides the types `Number` (a number or a register) and `Value`
// (float or double), and the functions `abs`, `larger` and `select(mask, yes, no)`.
namespace spectralgrad::math {

enum class GapForm {
  bare, // 1/x
  cutoff, // 1/x, and 0 up to the half-width
  lorentzian, // x/(x^2 + eta^2)
};

/// The formula of a rule for 1/gap. The half-width is either absolute, in units of the eigenvalues, or relative to
/// max|lambda|; the other one is zero.
template <typename T>
struct GapRule {
  GapForm form;
  T relative_width;
  T absolute_width;
};

/// The thresholds of the noise gate for entries S_ij of the skew-Hermitian part of V^H gV. gaps.h defines N and M.
template <typename T>
struct NoiseGate {
  T noise; // outside clusters, entries up to this fraction of N are dropped
  T cluster_noise; // inside clusters, entries up to this fraction of M are dropped
  T cluster_limit; // and also entries above this fraction of N
  T step; // the largest gap between neighbours in a cluster, as a fraction of max|lambda|
  T reach; // the largest gap of any pair in a cluster, as a fraction of max|lambda|
};

/// Returns 1/4 if differences of eigenvalues may overflow, else 1. Eigenvalues are multiplied by it before they are
/// subtracted.
template <typename Arithmetic>
__attribute__((always_inline)) inline typename Arithmetic::Number headroom(const typename Arithmetic::Number& largest) {
  using Number = typename Arithmetic::Number;
  using Value = typename Arithmetic::Value;
  const Number limit(std::numeric_limits<Value>::max() / 4);
  return Arithmetic::select(limit < largest, Number(Value(0.25)), Number(Value(1)));
}

/// Computes F_ij, in units of 1/s, from gaps x_ij = (lambda_j - lambda_i)/s.
template <typename Arithmetic>
struct InverseGap {
  using Number = typename Arithmetic::Number;
  using Value = typename Arithmetic::Value;

  Number scale; // s: max|lambda|, or the half-width if that is larger, so that no quotient overflows
  Number half_width;
  GapForm form;
  /// Whether the square of `half_width` cannot underflow.
  bool is_safe_to_square;

  /// `largest` is max|lambda| times `unit` (from `headroom`), which the eigenvalues are multiplied by, too. The width
  /// in `rule` is not.
  __attribute__((always_inline)) InverseGap(
      const GapRule<Value>& rule,
      const Number& largest,
      const Number& unit,
      const Value& negligible)
      : form(rule.form) {
    const Number zero(Value(0));
    const auto width = Number(rule.absolute_width) * unit;
    const auto size = Arithmetic::larger(largest, width);
    scale = Arithmetic::select(size == zero, Number(Value(1)), size);
    half_width = rule.absolute_width > 0 ? width / scale : Number(rule.relative_width);
    is_safe_to_square = rule.absolute_width == 0 && rule.relative_width > negligible;
  }

  __attribute__((always_inline)) Number operator()(const Number& x) const {
    const Number zero(Value(0));
    const Number one(Value(1));
    if (form == GapForm::bare) {
      return one / x;
    }
    if (form == GapForm::cutoff) {
      return Arithmetic::select(Arithmetic::abs(x) <= half_width, zero, one / x);
    }
    if (is_safe_to_square) {
      return x / (x * x + half_width * half_width);
    }
    const auto larger = Arithmetic::larger(Arithmetic::abs(x), half_width);
    const auto none = larger == zero;
    const auto unit = Arithmetic::select(none, one, larger);
    return Arithmetic::select(none, zero, (x / unit) / (x * (x / unit) + half_width * (half_width / unit)));
  }
};

/// Returns numerator/gap, and 0 where the gap is 0. Also used with tensors for `Number`.
template <typename Number, typename Select>
__attribute__((always_inline)) inline Number quotient_or_zero(
    const Number& numerator,
    const Number& gap,
    const Number& zero,
    const Number& one,
    const Select& select) {
  const auto none = gap == zero;
  // Multiplying by 0 keeps a NaN.
  return select(none, numerator * zero, numerator / select(none, one, gap));
}

} // namespace spectralgrad::math
