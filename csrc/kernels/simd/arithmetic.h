#pragma once

#include "kernels/simd/entry.h"

#include <limits>
#include <numbers>

// What the formulas shared with tensor code need to know of vectors, and sizes of entries.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// For math/pairs/inverse_gap.h.
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

/// Multiplies by 1/s, or, in lanes whose s is so small that this overflows, divides by s: each lane by itself, whatever its
/// neighbours are.
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

/// |z| to within a factor of sqrt(2), from below, without a square that may underflow.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> low_size(const Vec<T>& x) {
  return x.abs();
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> low_size(const Complex<T>& z) {
  return larger(z.re.abs(), z.im.abs());
}

/// |z| is at most so many times that.
template <typename T, bool is_complex>
inline constexpr T low_size_factor = is_complex ? T(1.0001 * std::numbers::sqrt2) : T(1);

template <typename T>
SPECTRALGRAD_INLINE Vec<T> size_of(const Vec<T>& x) {
  return x.abs();
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> size_of(const Complex<T>& z) {
  return squared(z).sqrt();
}

/// Whether the noise gate drops an entry S of the skew-Hermitian part of V^H gV outside clusters: up to `noise` N.
///
/// N = |V|^T |gV| + its transpose is at most `most`, and at least the sum of the sizes of the two entries that S was made of
/// (`upper`, and `lower` across the diagonal). These bounds decide nearly always. Else `is_noise(asked)` compares with N itself
/// where it is asked to.
template <typename T, bool is_complex, typename IsNoise>
SPECTRALGRAD_INLINE Mask<T> is_rounding(
    const Entry<T, is_complex>& S,
    const Entry<T, is_complex>& upper,
    const Entry<T, is_complex>& lower,
    const Vec<T>& noise,
    const Vec<T>& most,
    const Mask<T>& outside,
    const IsNoise& is_noise) {
  // The bounds are rounded, and `low_size` may be too small by a factor.
  const Vec<T> above(T(1.01));
  const Vec<T> below(T(0.99));
  const Vec<T> root(low_size_factor<T, is_complex>);
  const auto size = low_size(S);
  const auto maybe = outside & (size <= above * noise * most);
  if (!any<T>(maybe)) {
    return maybe;
  }
  auto result = maybe & (root * size <= below * noise * (low_size(upper) + low_size(lower)));
  const auto asked = maybe & negation<T>(result);
  if (any<T>(asked)) {
    result = result | is_noise(asked);
  }
  // NaN and Inf are never noise: comparisons with NaN fail.
  return result & (size < Vec<T>(std::numeric_limits<T>::infinity()));
}

/// The same inside clusters: up to `floor`, a fraction of M, and above `limit` N. `is_above_limit(asked)` compares with N itself.
template <typename T, bool is_complex, typename IsAboveLimit>
SPECTRALGRAD_INLINE Mask<T> is_unknowable(
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
  const Vec<T> root(low_size_factor<T, is_complex>);
  const auto size = low_size(S);
  auto result = inside & ((root * size <= floor) | (above * limit * most < size));
  const auto within = root * size <= below * limit * (low_size(upper) + low_size(lower));
  const auto asked = inside & negation<T>(result | within);
  if (any<T>(asked)) {
    result = result | is_above_limit(asked);
  }
  return result & (size < Vec<T>(std::numeric_limits<T>::infinity()));
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
