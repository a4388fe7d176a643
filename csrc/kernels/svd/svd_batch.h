#pragma once

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// A batch of matrices with `rows` >= `columns`, with complex numbers as pairs of real ones: A = L diag(sigma) R^H.
///
/// A wide matrix is decomposed as its transpose: A^T = L diag(sigma) R^H is A = conj(R) diag(sigma) L^T.
template <typename T>
struct SvdBatch {
  const T* matrices; // (count, rows, columns), contiguous; row by row unless `by_columns`
  int rows;
  int columns;
  bool is_complex;
  bool by_columns; // (count, columns, rows) instead
  T* singular_values; // (count, columns), descending
  T* left; // L, column by column, or row by row if `is_transposed`; null if no singular vectors are requested
  T* right; // conj(R), row by row, or column by column if `is_transposed`
  bool is_transposed; // the batch consists of the transposes of wide matrices
};

/// The largest number of columns and of rows that the kernel supports.
inline constexpr int largest_svd_columns = 64;
inline constexpr int largest_svd_rows = 512;

} // namespace spectralgrad::kernels::simd
