#pragma once

#include "core/arithmetic.h"
#include "kernels/simd/entry.h"

#include <limits>
#include <numbers>

// Arithmetic on vectors for formulas that are shared with tensor code, and absolute values of entries.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Arithmetic on vectors (core/arithmetic.h).
template <typename T>
struct VectorArithmetic {
  using Number = Vec<T>;
  using Mask = simd::Mask<T>;
  using Value = T;
  static SPECTRALGRAD_INLINE Vec<T> number_like(double value, const Vec<T>&) {
    return Vec<T>(static_cast<T>(value));
  }
  static SPECTRALGRAD_INLINE T largest_number(const Vec<T>&) {
    return std::numeric_limits<T>::max();
  }
  static SPECTRALGRAD_INLINE Vec<T> abs(const Vec<T>& x) {
    return x.abs();
  }
  static SPECTRALGRAD_INLINE Vec<T> larger(const Vec<T>& x, const Vec<T>& y) {
    return simd::larger<T>(x, y);
  }
  static SPECTRALGRAD_INLINE Vec<T> conjugate(const Vec<T>& x) {
    return x;
  }
  static SPECTRALGRAD_INLINE Vec<T> reciprocal(const Vec<T>& x) {
    return Vec<T>(T(1)) / x;
  }
  static SPECTRALGRAD_INLINE Vec<T> constant(const Vec<T>& x) {
    return x;
  }
  static SPECTRALGRAD_INLINE Vec<T> select(const Mask& mask, const Vec<T>& yes, const Vec<T>& no) {
    return simd::select<T>(mask, yes, no);
  }
  static SPECTRALGRAD_INLINE Mask is_finite(const Vec<T>& x) {
    return x < Vec<T>(std::numeric_limits<T>::infinity());
  }
  static SPECTRALGRAD_INLINE Mask negation(const Mask& mask) {
    return simd::negation<T>(mask);
  }
  static SPECTRALGRAD_INLINE bool any(const Mask& mask) {
    return simd::any<T>(mask);
  }
};

/// Divides by s: multiplies by 1/s, except in lanes where s is so small that 1/s may overflow. These lanes divide. The
/// result of a lane does not depend on its neighbours.
template <typename T>
class OverScale {
 public:
  explicit SPECTRALGRAD_INLINE OverScale(const Vec<T>& scale)
      : scale_(scale),
        inverse_(Vec<T>(T(1)) / scale),
        tiny_(scale < Vec<T>(4 * std::numeric_limits<T>::min())),
        some_are_tiny_(any<T>(tiny_)) {}

  SPECTRALGRAD_INLINE Vec<T> operator()(const Vec<T>& x) const {
    return some_are_tiny_ ? select<T>(tiny_, x / scale_, x * inverse_) : x * inverse_;
  }
  SPECTRALGRAD_INLINE Complex<T> operator()(const Complex<T>& z) const {
    return {(*this)(z.re), (*this)(z.im)};
  }

 private:
  Vec<T> scale_;
  Vec<T> inverse_;
  Mask<T> tiny_;
  bool some_are_tiny_;
};

/// A lower bound of |z|, no less than |z|/sqrt(2). It takes no squares, which may underflow.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> abs_lower_bound(const Vec<T>& x) {
  return x.abs();
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> abs_lower_bound(const Complex<T>& z) {
  return larger(z.re.abs(), z.im.abs());
}

/// |z| is at most this many times `abs_lower_bound(z)`.
template <typename T, bool is_complex>
inline constexpr T abs_lower_bound_factor = is_complex ? T(1.0001 * std::numbers::sqrt2) : T(1);

template <typename T>
SPECTRALGRAD_INLINE Vec<T> size_of(const Vec<T>& x) {
  return x.abs();
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> size_of(const Complex<T>& z) {
  return squared(z).sqrt();
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
