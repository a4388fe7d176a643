#pragma once

#include "kernels/simd/arithmetic.h"
#include "kernels/simd/products.h"

// Hermitian matrices in lanes.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Replaces a matrix by its Hermitian part, scaled by a power of two so that the largest entry is about 1. Returns the
/// largest entry before scaling.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Vec<T> make_hermitian(const View<T>& matrix, int n) {
  const auto at = [&](int r, int c) {
    return load_entry<T, is_complex>(matrix.at(r, c));
  };
  // Not `largest_entry`, which is slower here (docs/measurements.md).
  Vec<T> largest(T(0));
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < n; ++c) {
      largest = larger(largest, abs_lower_bound(at(r, c)));
    }
  }
  const auto to = Scale<T>(largest).to;
  const auto half = to * Vec<T>(T(0.5));
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < r; ++c) {
      const auto mean = add_scaled(at(r, c), half, scale(conj(at(c, r)), half));
      store_entry(matrix.at(r, c), mean);
      store_entry(matrix.at(c, r), conj(mean));
    }
    store_entry(matrix.at(r, r), real_entry<T, is_complex>(real(at(r, r)) * to));
  }
  return largest;
}

/// Completes a Hermitian matrix, given its lower triangle.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE void complete_hermitian(const View<T>& matrix, int n) {
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < r; ++c) {
      store_entry(matrix.at(c, r), conj(load_entry<T, is_complex>(matrix.at(r, c))));
    }
    if constexpr (is_complex) {
      store(matrix.at(r, r) + lane_count<T>, Vec<T>(T(0)));
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
