#pragma once

#include "kernels/simd/entry.h"

#include <limits>
#include <numbers>

// Arithmetic on vectors for formulas that are shared with tensor code, absolute values of entries, and the noise gate.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Arithmetic on vectors, for math/pairs/inverse_gap.h.
template <typename T>
struct Arithmetic {
  using Number = Vec<T>;
  using Value = T;
  static SPECTRALGRAD_INLINE Vec<T> abs(const Vec<T>& x) {
    return x.abs();
  }
  static SPECTRALGRAD_INLINE Vec<T> larger(const Vec<T>& x, const Vec<T>& y) {
    return simd::larger<T>(x, y);
  }
  static SPECTRALGRAD_INLINE Vec<T> select(const Mask<T>& mask, const Vec<T>& yes, const Vec<T>& no) {
    return simd::select<T>(mask, yes, no);
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

/// Returns the lanes in which the noise gate drops S, an entry of the skew-Hermitian part of V^H gV, outside clusters:
/// those with |S| <= `noise` N.
///
/// N = |V|^T |gV| + its transpose is at most `most`. It is at least the sum of the absolute values of the two entries
/// that S was made of, `upper` and, across the diagonal, `lower`. These bounds nearly always decide. For the lanes in
/// which they do not, `is_noise(asked)` compares |S| with N itself.
template <typename T, bool is_complex, typename IsNoise>
SPECTRALGRAD_INLINE Mask<T> is_dropped_outside(
    const Entry<T, is_complex>& S,
    const Entry<T, is_complex>& upper,
    const Entry<T, is_complex>& lower,
    const Vec<T>& noise,
    const Vec<T>& most,
    const Mask<T>& outside,
    const IsNoise& is_noise) {
  // The factors allow for the round-off of the bounds, and for `abs_lower_bound`, which may be too small.
  const Vec<T> above(T(1.01));
  const Vec<T> below(T(0.99));
  const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
  const auto size = abs_lower_bound(S);
  const auto maybe = outside & (size <= above * noise * most);
  if (!any<T>(maybe)) {
    return maybe;
  }
  auto result = maybe & (root * size <= below * noise * (abs_lower_bound(upper) + abs_lower_bound(lower)));
  const auto asked = maybe & negation<T>(result);
  if (any<T>(asked)) {
    result = result | is_noise(asked);
  }
  // Entries that are NaN or Inf are never dropped. Comparisons with NaN are false.
  return result & (size < Vec<T>(std::numeric_limits<T>::infinity()));
}

/// Returns the lanes in which the noise gate drops S inside clusters: those with |S| <= `floor`, a fraction of M, and
/// those with |S| > `limit` N. See `math::NoiseGate`. `is_above_limit(asked)` compares |S| with N itself.
template <typename T, bool is_complex, typename IsAboveLimit>
SPECTRALGRAD_INLINE Mask<T> is_dropped_in_cluster(
    const Entry<T, is_complex>& S,
    const Entry<T, is_complex>& upper,
    const Entry<T, is_complex>& lower,
    const Vec<T>& floor,
    const Vec<T>& limit,
    const Vec<T>& most,
    const Mask<T>& inside,
    const IsAboveLimit& is_above_limit) {
  const Vec<T> above(T(1.01));
  const Vec<T> below(T(0.99));
  const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
  const auto size = abs_lower_bound(S);
  auto result = inside & ((root * size <= floor) | (above * limit * most < size));
  const auto within = root * size <= below * limit * (abs_lower_bound(upper) + abs_lower_bound(lower));
  const auto asked = inside & negation<T>(result | within);
  if (any<T>(asked)) {
    result = result | is_above_limit(asked);
  }
  return result & (size < Vec<T>(std::numeric_limits<T>::infinity()));
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
