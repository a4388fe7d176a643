#pragma once

#include "kernels/blas/multiply.h"
#include "kernels/eigh/divide_and_conquer/reduction.h"
#include "kernels/eigh/divide_and_conquer/tasks.h"

// Eigenvectors of A from those of its tridiagonal form.
//
// The reflections are applied in blocks, by matrix products. R. Schreiber and C. Van Loan, A storage-efficient WY
// representation for products of Householder transformations, SIAM J. Sci. Stat. Comput. 10, 53-57 (1989).
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The number of reflections in a block.
inline constexpr int reflections_at_once = 32;

/// The matrices of a block of reflections H_first ... H_(last) = I - V^T S V, where the rows of V are the vectors v.
template <typename T>
struct ReflectionBlock {
  T* S; // upper triangular
  T* gram; // V V^T
  T* SV;
  T* ZV; // Z V^T

  static int64_t workspace_size(int n) {
    constexpr int64_t most = reflections_at_once;
    return 2 * most * most + 2 * most * SymmetricMatrix<T>::row_length(n);
  }
  ReflectionBlock(int row, Memory<T>& memory)
      : S(memory.take(reflections_at_once * reflections_at_once)),
        gram(memory.take(reflections_at_once * reflections_at_once)),
        SV(memory.take(static_cast<int64_t>(reflections_at_once) * row)),
        ZV(memory.take(static_cast<int64_t>(reflections_at_once) * row)) {}

  /// Computes S of the `count` reflections from `first` on, from V V^T.
  void find_factor(const T* factors, int count) const {
    constexpr int most = reflections_at_once;
    for (int b = 0; b < count; ++b) {
      const T factor = factors[b];
      for (int a = 0; a < b; ++a) {
        T sum = 0;
        for (int c = a; c < b; ++c) {
          sum += S[a * most + c] * gram[c * most + b];
        }
        S[a * most + b] = -factor * sum;
        S[b * most + a] = T(0);
      }
      S[b * most + b] = factor;
    }
  }
};

/// Multiplies each row of `Z` (n x n, rows n apart), an eigenvector of the tridiagonal matrix, by Q.
template <typename T>
void transform_back(const SymmetricMatrix<T>& matrix, const ReflectionBlock<T>& block, T* Z, const Tasks& tasks) {
  constexpr int most = reflections_at_once;
  const int n = matrix.n;
  for (int first = 1; first < n; first += most) {
    const int count = n - first < most ? n - first : most;
    const int width = first + count - 1;
    const Matrices<T> V{matrix.at(first), matrix.row, 1};
    const Matrices<T> V_transposed{matrix.at(first), 1, matrix.row};
    kernels::multiply<T>(count, count, width, V, V_transposed, block.gram, most);
    block.find_factor(matrix.factors + first, count);
    kernels::multiply<T>(count, width, count, {block.S, most, 1}, V, block.SV, width);
    tasks(Division{0, n, task_count(n)}, [&](int begin, int end) {
      T* rows = Z + static_cast<int64_t>(begin) * n;
      T* ZV = block.ZV + static_cast<int64_t>(begin) * count;
      kernels::multiply<T>(end - begin, count, width, {rows, n, 1}, V_transposed, ZV, count);
      kernels::multiply<T>(end - begin, width, count, {ZV, count, 1}, {block.SV, width, 1}, rows, n, T(-1), T(1));
    });
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
