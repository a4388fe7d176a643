#pragma once

#include "core/arithmetic.h"
#include "math/pairs/denominators.h"

#include <c10/core/ScalarType.h>

namespace spectralgrad {
class Rule;
} // namespace spectralgrad

// The inverse of a denominator by rule. Templates for tensors, for one pair in each SIMD lane, and for single numbers.
//
// The Lorentzian x/(x^2 + eta^2) is the principal value of 1/x broadened to a half-width eta. Its relative bias is
// exactly eta^2/(x^2 + eta^2). For complex x it is conj(x)/(|x|^2 + eta^2), because x/(x^2 + eta^2) is singular at
// x = i eta.
namespace spectralgrad::math {

enum class Broadening {
  bare, // 1/x
  cutoff, // 1/x, and 0 up to the half-width
  lorentzian, // conj(x)/(|x|^2 + eta^2)
};

/// The formula of a rule. The half-width is either absolute, in units of the values, or relative to the largest of
/// them; the other one is zero.
template <typename T>
struct BroadeningRule {
  Broadening form;
  T relative_width;
  T absolute_width;
};

/// The formula of a rule for values of type `dtype`.
BroadeningRule<double> broadening_rule(const Rule& rule, c10::ScalarType dtype);

template <typename T>
BroadeningRule<T> broadening_rule(const Rule& rule) {
  const auto formula = broadening_rule(rule, c10::CppTypeToScalarType<T>::value);
  return {formula.form, static_cast<T>(formula.relative_width), static_cast<T>(formula.absolute_width)};
}

/// Computes the broadened inverse of denominators in units of a `DenominatorUnit`.
template <Arithmetic A>
class BroadenedInverse {
 public:
  using Number = typename A::Number;
  using Value = typename A::Value;

  /// Relative half-widths above `least_width` may be squared, which takes less time but may underflow. It must be
  /// infinite if the result is differentiated, because derivatives square the squares.
  SPECTRALGRAD_INLINE BroadenedInverse(
      const BroadeningRule<Value>& rule,
      const DenominatorUnit<A>& unit,
      const Value& least_width)
      : form_(rule.form),
        half_width_(
            rule.absolute_width > 0 ? A::number_like(rule.absolute_width, unit.size) * unit.headroom / unit.size
                                    : A::number_like(rule.relative_width, unit.size)),
        is_safe_to_square_(rule.absolute_width == 0 && rule.relative_width > least_width) {}

  SPECTRALGRAD_INLINE Number operator()(const Number& x) const {
    if (form_ == Broadening::bare) {
      return A::reciprocal(x);
    }
    if (form_ == Broadening::cutoff) {
      const auto none = A::abs(A::constant(x)) <= half_width_;
      // No 1/0 is formed, because its derivative would be NaN.
      return A::select(none, A::number_like(0, x), A::reciprocal(A::select(none, A::number_like(1, x), x)));
    }
    if (is_safe_to_square_) {
      return x / (x * x + half_width_ * half_width_);
    }
    // Dividing by the larger of |x| and the half-width first, no square over- or underflows.
    const auto larger = A::larger(A::abs(A::constant(x)), half_width_);
    const auto none = larger == A::number_like(0, larger);
    const auto unit = A::select(none, A::number_like(1, larger), larger);
    const auto numerator = A::conjugate(x) / unit;
    const auto denominator = x * numerator + half_width_ * (half_width_ / unit);
    return numerator / A::select(none, A::number_like(1, denominator), denominator);
  }

  /// The derivative of the inverse with respect to a real x.
  SPECTRALGRAD_INLINE Number derivative(const Number& x) const {
    const auto zero = A::number_like(0, x);
    if (form_ == Broadening::lorentzian) {
      // (eta^2 - x^2)/(x^2 + eta^2)^2, in units of the larger of |x| and the half-width.
      const auto larger = A::larger(A::abs(A::constant(x)), half_width_);
      const auto none = larger == zero;
      const auto unit = A::select(none, A::number_like(1, larger), larger);
      const auto a = x / unit;
      const auto b = half_width_ / unit;
      const auto squares = a * a + b * b;
      const auto result = (b - a) * (b + a) / (squares * squares) / unit / unit;
      return A::select(none, zero, result);
    }
    const auto inverse = (*this)(x);
    return zero - inverse * inverse;
  }

 private:
  Broadening form_;
  Number half_width_;
  bool is_safe_to_square_;
};

} // namespace spectralgrad::math
