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

/// Computes the upper triangular S of H_first ... H_(first + count - 1) = I - V^T S V, where the rows of V are the
/// vectors v, from `gram`, V V^T.
template <typename T>
void find_factor(const T* factors, int count, const T* gram, T* S) {
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

/// The reflections of a matrix, in blocks I - V^T S V.
template <typename T>
class ReflectionBlocks {
 public:
  static int64_t workspace_size(int n) {
    constexpr int64_t most = reflections_at_once;
    return (n + most) * SymmetricMatrix<T>::row_length(n) + padded<T>(n) * most;
  }
  ReflectionBlocks(const SymmetricMatrix<T>& matrix, Memory<T> memory)
      : matrix_(matrix),
        count_((matrix.n - 2 + most) / most),
        SV_(memory.take(static_cast<int64_t>(count_) * most * matrix.row)),
        ZV_(memory.take(padded<T>(matrix.n) * static_cast<int64_t>(most))) {}

  /// Computes S V of each block.
  void find_factors(const Tasks& tasks) const {
    const int wanted = task_count(matrix_.n);
    const int count = count_ < wanted ? count_ : wanted;
    // Later blocks have longer vectors, so each task has every `count`-th one.
    tasks(count, [&](int task) {
      alignas(64) T S[most * most];
      alignas(64) T gram[most * most];
      for (int i = task; i < count_; i += count) {
        const auto V = block(i);
        kernels::multiply<T>(V.count, V.count, V.width, V.rows(), V.columns(), gram, most);
        find_factor(matrix_.factors + V.first, V.count, gram, S);
        kernels::multiply<T>(V.count, V.width, V.count, {S, most, 1}, V.rows(), V.SV, V.width);
      }
    });
  }

  /// Multiplies the rows begin <= i < end of Z (n x n) by Q = H_(n-1) ... H_1.
  void apply(T* Z, int begin, int end) const {
    const int n = matrix_.n;
    const int count = end - begin;
    T* rows = Z + static_cast<int64_t>(begin) * n;
    T* ZV = ZV_ + static_cast<int64_t>(begin) * most;
    for (int i = 0; i < count_; ++i) {
      const auto V = block(i);
      kernels::multiply<T>(count, V.count, V.width, {rows, n, 1}, V.columns(), ZV, V.count);
      kernels::multiply<T>(count, V.width, V.count, {ZV, V.count, 1}, {V.SV, V.width, 1}, rows, n, T(-1), T(1));
    }
  }

 private:
  static constexpr int most = reflections_at_once;

  struct Block {
    const T* V;
    int row;
    int first;
    int count;
    int width; // the length of its longest vector
    T* SV; // count x width

    Matrices<T> rows() const {
      return {V, row, 1};
    }
    Matrices<T> columns() const {
      return {V, 1, row};
    }
  };

  Block block(int i) const {
    const int first = 1 + i * most;
    const int count = matrix_.n - first < most ? matrix_.n - first : most;
    T* SV = SV_ + static_cast<int64_t>(i) * most * matrix_.row;
    return {matrix_.at(first), matrix_.row, first, count, first + count - 1, SV};
  }

  const SymmetricMatrix<T>& matrix_;
  int count_; // of blocks
  T* SV_;
  T* ZV_; // of the rows of Z
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
