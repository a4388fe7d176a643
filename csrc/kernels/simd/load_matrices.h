#pragma once

#include "kernels/simd/arithmetic.h"
#include "kernels/simd/exchange.h"
#include "kernels/simd/matrices.h"
#include "kernels/simd/products.h"

// Loads matrices and vectors of a batch into lanes, and stores them. `known_n` is n if that is known at compile time,
// else 0.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T, bool is_complex, int known_n>
SPECTRALGRAD_INLINE void load_matrices(const Matrices<T>& from, int n, const Members& members, const View<T>& to) {
  constexpr int parts = is_complex ? 2 : 1;
  const int numbers = n * n * parts;
  const Cursor<T, is_complex> to_numbers(from.right == 1 ? to : to.transposed(), n);
  load_numbers<T, known_n * known_n * parts>(from.data, numbers, numbers, members, to_numbers);
}

/// Stores the matrices row by row.
template <typename T, bool is_complex, int known_n>
SPECTRALGRAD_INLINE void store_matrices(const View<T>& from, int n, const Members& members, T* to) {
  constexpr int parts = is_complex ? 2 : 1;
  const int numbers = n * n * parts;
  store_numbers<T, known_n * known_n * parts>(to, numbers, numbers, members, Cursor<T, is_complex>(from, n));
}

/// Loads a real vector of n numbers for each matrix.
template <typename T, int known_n>
SPECTRALGRAD_INLINE void load_rows(const T* from, int n, const Members& members, T* to) {
  load_numbers<T, known_n>(from, n, n, members, Cursor<T, false>({to, 0, lane_count<T>}, n));
}

/// A lower bound of the largest absolute value in a matrix, no less than 1/sqrt(2) of it.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Vec<T> largest_entry(const View<T>& matrix, int n) {
  Vec<T> largest(T(0));
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < n; ++c) {
      largest = larger(largest, abs_lower_bound(load_entry<T, is_complex>(matrix.at(r, c))));
    }
  }
  return largest;
}

/// The largest absolute value of n ascending eigenvalues.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> largest_eigenvalue(const T* eigenvalues, int n) {
  return larger(load(eigenvalues).abs(), load(eigenvalues + (n - 1) * lane_count<T>).abs());
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
