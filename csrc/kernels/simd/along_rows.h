#pragma once

#include "kernels/simd/entry.h"

#include <cstdint>
#include <type_traits>

// Adjacent entries of one large matrix, one in each lane.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Calls f(i, count) for the registers that begin <= i < end fills, from entry i on; `count` is the number of entries.
template <typename T, typename F>
SPECTRALGRAD_INLINE void for_each_vector(int64_t begin, int64_t end, const F& f) {
  constexpr int W = lane_count<T>;
  for (auto i = begin; i < end; i += W) {
    f(i, static_cast<int>(end - i < W ? end - i : W));
  }
}

/// Calls f with `value` as a constant that templates can take.
template <typename F>
SPECTRALGRAD_INLINE void with_constant(bool value, const F& f) {
  value ? f(std::true_type()) : f(std::false_type());
}

/// Loads `count` adjacent entries of a row; the other lanes are zero. `store_along` writes only `count` entries.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> load_along(const T* from, int count) {
  constexpr int W = lane_count<T>;
  if constexpr (is_complex) {
    const int second_count = 2 * count > W ? 2 * count - W : 0;
    const auto first = count == W ? load(from) : Vec<T>::loadu(from, 2 * count < W ? 2 * count : W);
    const auto second = count == W ? load(from + W)
                                   : (second_count > 0 ? Vec<T>::loadu(from + W, second_count) : Vec<T>(T(0)));
    const auto parts = at::vec::deinterleave2(first, second);
    return {parts.first, parts.second};
  } else {
    return count == W ? load(from) : Vec<T>::loadu(from, count);
  }
}

template <typename T>
SPECTRALGRAD_INLINE void store_along(T* to, const Vec<T>& x, int count) {
  x.store(to, count);
}
template <typename T>
SPECTRALGRAD_INLINE void store_along(T* to, const Complex<T>& z, int count) {
  constexpr int W = lane_count<T>;
  const auto parts = at::vec::interleave2(z.re, z.im);
  parts.first.store(to, 2 * count < W ? 2 * count : W);
  if (2 * count > W) {
    parts.second.store(to + W, 2 * count - W);
  }
}

/// Returns `x` with `value` in one lane.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> put(const Vec<T>& x, int lane, T value) {
  T numbers[lane_count<T>];
  store(numbers, x);
  numbers[lane] = value;
  return load<T>(numbers);
}
/// The same for a number that is real.
template <typename T>
SPECTRALGRAD_INLINE Complex<T> put(const Complex<T>& z, int lane, T value) {
  return {put<T>(z.re, lane, value), put<T>(z.im, lane, T(0))};
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
