#pragma once

#include "core/always_inline.h"

#include <cmath>
#include <concepts>
#include <limits>

// Formulas that the library states once, for tensors, SIMD registers and single numbers, are templates on an
// arithmetic. It is a type with static functions, and formulas also use +, -, *, /, <, <=, ==, & and | of its numbers
// and masks. The arithmetics are `NumberArithmetic` below, `TensorArithmetic` (math/pairs/tensor_arithmetic.h) and
// `VectorArithmetic` (kernels/simd/arithmetic.h). math/closed_forms.h needs elementary functions as well.
namespace spectralgrad {

/// The operations that every arithmetic has. Numbers are real, but tensors may be complex where it says so.
template <typename A>
concept Arithmetic = requires(const typename A::Number& x, const typename A::Mask& mask, double value) {
  /// A real type that thresholds and widths are given in: double for tensors, which have any dtype.
  typename A::Value;
  /// `value` in the type of `x`.
  { A::number_like(value, x) } -> std::same_as<typename A::Number>;
  /// The largest finite number of the type of `x`.
  { A::largest_number(x) } -> std::convertible_to<double>;
  /// |x|; `x` may be complex.
  { A::abs(x) } -> std::same_as<typename A::Number>;
  /// The larger of two numbers.
  { A::larger(x, x) } -> std::same_as<typename A::Number>;
  /// The conjugate; `x` may be complex.
  { A::conjugate(x) } -> std::same_as<typename A::Number>;
  /// 1/x without overflow of squares; `x` may be complex.
  { A::reciprocal(x) } -> std::same_as<typename A::Number>;
  /// `x` as a constant of differentiation.
  { A::constant(x) } -> std::same_as<typename A::Number>;
  /// The second argument where the mask is set, else the third.
  { A::select(mask, x, x) } -> std::same_as<typename A::Number>;
  /// Whether x >= 0 is neither NaN nor infinite.
  { A::is_finite(x) } -> std::same_as<typename A::Mask>;
  { A::negation(mask) } -> std::same_as<typename A::Mask>;
  /// Whether the mask may be set anywhere.
  { A::any(mask) } -> std::same_as<bool>;
};

/// Arithmetic on single real numbers.
template <std::floating_point T>
struct NumberArithmetic {
  using Number = T;
  using Mask = bool;
  using Value = T;

  static SPECTRALGRAD_INLINE T number_like(double value, T) {
    return static_cast<T>(value);
  }
  static SPECTRALGRAD_INLINE T largest_number(T) {
    return std::numeric_limits<T>::max();
  }
  static SPECTRALGRAD_INLINE T abs(T x) {
    return std::abs(x);
  }
  static SPECTRALGRAD_INLINE T larger(T x, T y) {
    return x < y ? y : x;
  }
  static SPECTRALGRAD_INLINE T conjugate(T x) {
    return x;
  }
  static SPECTRALGRAD_INLINE T reciprocal(T x) {
    return 1 / x;
  }
  static SPECTRALGRAD_INLINE T constant(T x) {
    return x;
  }
  static SPECTRALGRAD_INLINE T select(bool mask, T yes, T no) {
    return mask ? yes : no;
  }
  static SPECTRALGRAD_INLINE bool is_finite(T x) {
    return x < std::numeric_limits<T>::infinity();
  }
  static SPECTRALGRAD_INLINE bool negation(bool mask) {
    return !mask;
  }
  static SPECTRALGRAD_INLINE bool any(bool mask) {
    return mask;
  }
};

/// Returns numerator/denominator, and 0 where the denominator is 0. For divided differences. Not to be differentiated.
template <Arithmetic A>
SPECTRALGRAD_INLINE typename A::Number quotient_or_zero(
    const typename A::Number& numerator,
    const typename A::Number& denominator) {
  const auto zero = A::number_like(0, denominator);
  const auto none = denominator == zero;
  // Multiplying by 0 keeps a NaN.
  return A::select(none, numerator * zero, numerator / A::select(none, A::number_like(1, denominator), denominator));
}

} // namespace spectralgrad
