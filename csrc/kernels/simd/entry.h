#pragma once

#include "kernels/simd/vector.h"

// Real and complex entries of matrices, one matrix in each lane.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T>
struct Complex {
  Vec<T> re;
  Vec<T> im;
};

/// The type of the entries. In memory, a complex entry is the vector of real parts followed by that of imaginary parts.
template <typename T, bool is_complex>
struct EntryOf {
  using type = Vec<T>;
};
template <typename T>
struct EntryOf<T, true> {
  using type = Complex<T>;
};
template <typename T, bool is_complex>
using Entry = typename EntryOf<T, is_complex>::type;

template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> load_entry(const T* from) {
  if constexpr (is_complex) {
    return {load(from), load(from + lane_count<T>)};
  } else {
    return load(from);
  }
}

template <typename T>
SPECTRALGRAD_INLINE void store_entry(T* to, const Vec<T>& x) {
  store(to, x);
}
template <typename T>
SPECTRALGRAD_INLINE void store_entry(T* to, const Complex<T>& z) {
  store(to, z.re);
  store(to + lane_count<T>, z.im);
}

/// The entry with this real part and no imaginary part.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> real_entry(const Vec<T>& x) {
  if constexpr (is_complex) {
    return {x, Vec<T>(T(0))};
  } else {
    return x;
  }
}

template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> zero_entry() {
  return real_entry<T, is_complex>(Vec<T>(T(0)));
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> real(const Vec<T>& x) {
  return x;
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> real(const Complex<T>& z) {
  return z.re;
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> imaginary(const Vec<T>&) {
  return Vec<T>(T(0));
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> imaginary(const Complex<T>& z) {
  return z.im;
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> conj(const Vec<T>& x) {
  return x;
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> conj(const Complex<T>& z) {
  return {z.re, Vec<T>(T(0)) - z.im};
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> negate(const Vec<T>& x) {
  return Vec<T>(T(0)) - x;
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> negate(const Complex<T>& z) {
  return {negate(z.re), negate(z.im)};
}

/// |x|^2
template <typename T>
SPECTRALGRAD_INLINE Vec<T> squared(const Vec<T>& x) {
  return x * x;
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> squared(const Complex<T>& z) {
  return fma(z.re, z.re, z.im * z.im);
}

/// |x|^2 + sum
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_squared(const Vec<T>& x, const Vec<T>& sum) {
  return fma(x, x, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_squared(const Complex<T>& z, const Vec<T>& sum) {
  return fma(z.re, z.re, fma(z.im, z.im, sum));
}

/// x s, s real
template <typename T>
SPECTRALGRAD_INLINE Vec<T> scale(const Vec<T>& x, const Vec<T>& s) {
  return x * s;
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> scale(const Complex<T>& z, const Vec<T>& s) {
  return {z.re * s, z.im * s};
}

/// x s + sum, s real
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_scaled(const Vec<T>& x, const Vec<T>& s, const Vec<T>& sum) {
  return fma(x, s, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> add_scaled(const Complex<T>& z, const Vec<T>& s, const Complex<T>& sum) {
  return {fma(z.re, s, sum.re), fma(z.im, s, sum.im)};
}

/// sum - x s, s real
template <typename T>
SPECTRALGRAD_INLINE Vec<T> subtract_scaled(const Vec<T>& x, const Vec<T>& s, const Vec<T>& sum) {
  return fnma(x, s, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> subtract_scaled(const Complex<T>& z, const Vec<T>& s, const Complex<T>& sum) {
  return {fnma(z.re, s, sum.re), fnma(z.im, s, sum.im)};
}

/// a b + sum
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_product(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) {
  return fma(a, b, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> add_product(const Complex<T>& a, const Complex<T>& b, const Complex<T>& sum) {
  return {fnma(a.im, b.im, fma(a.re, b.re, sum.re)), fma(a.im, b.re, fma(a.re, b.im, sum.im))};
}

/// conj(a) b + sum
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_conj_product(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) {
  return fma(a, b, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> add_conj_product(const Complex<T>& a, const Complex<T>& b, const Complex<T>& sum) {
  return {fma(a.im, b.im, fma(a.re, b.re, sum.re)), fnma(a.im, b.re, fma(a.re, b.im, sum.im))};
}

/// sum - a b
template <typename T>
SPECTRALGRAD_INLINE Vec<T> subtract_product(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) {
  return fnma(a, b, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> subtract_product(const Complex<T>& a, const Complex<T>& b, const Complex<T>& sum) {
  return {fma(a.im, b.im, fnma(a.re, b.re, sum.re)), fnma(a.im, b.re, fnma(a.re, b.im, sum.im))};
}

/// sum - a conj(b)
template <typename T>
SPECTRALGRAD_INLINE Vec<T> subtract_product_conj(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) {
  return fnma(a, b, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> subtract_product_conj(const Complex<T>& a, const Complex<T>& b, const Complex<T>& sum) {
  return {fnma(a.im, b.im, fnma(a.re, b.re, sum.re)), fma(a.re, b.im, fnma(a.im, b.re, sum.im))};
}

/// The real part of conj(a) b, added to `sum`.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_real_product(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) {
  return fma(a, b, sum);
}
template <typename T>
SPECTRALGRAD_INLINE Vec<T> add_real_product(const Complex<T>& a, const Complex<T>& b, const Vec<T>& sum) {
  return fma(a.re, b.re, fma(a.im, b.im, sum));
}

/// `x` in lanes where `mask` is set, zero in the others.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> where_entry(const Mask<T>& mask, const Vec<T>& x) {
  return where(mask, x);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> where_entry(const Mask<T>& mask, const Complex<T>& z) {
  return {where(mask, z.re), where(mask, z.im)};
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
