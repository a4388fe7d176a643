#pragma once

#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// Absolute values in the columns of one large matrix, for the magnitude N and bounds of it.
template <typename T>
struct ColumnKernel {
  /// The sum and the maximum of the absolute values in each column of an n x n matrix, over rows begin <= i < end.
  /// Complex absolute values are approximated from below. `sums` and `largest` have n entries.
  void (*sums)(const Matrices<T>&, int64_t n, bool is_complex, int64_t begin, int64_t end, T* sums, T* largest);
  /// Upper bounds of the norms of n columns, zero for a zero column, from the results of `sums` for `parts` ranges of
  /// rows: `sums` and `largest` are (parts, n).
  void (*norm_bounds)(const T* sums, const T* largest, int64_t parts, int64_t n, bool is_complex, T* norms);
  /// Writes the absolute values of `count` columns of a matrix, for rows begin <= i < end: entry i of column
  /// `columns[c]` to `sizes[c][i]`.
  void (*sizes)(
      const Matrices<T>&,
      bool is_complex,
      const int64_t* columns,
      int64_t count,
      T* const* sizes,
      int64_t begin,
      int64_t end);
  /// sum_k a_k b_k + c_k d_k
  T (*two_products)(const T* a, const T* b, const T* c, const T* d, int64_t n);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(ColumnKernel)
};

} // namespace spectralgrad::kernels::simd
