#pragma once

#include "kernels/eigh/large_eigh.h"
#include "kernels/simd/products.h"
#include "kernels/svd/column_pairs.h"

// The matrices from which one-sided Jacobi starts: B = A V, with approximate right singular vectors V.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Up to this number of columns, one-sided Jacobi starts from A itself.
constexpr int without_eigenvectors = 4;

template <typename T, bool is_complex, int groups>
class SvdWorkspace {
 public:
  using Columns = ColumnMatrix<T, is_complex>;
  using Eigh = LaneWorkspace<T, is_complex, groups>;

  static int64_t column(int count) {
    // An odd number of entries, so that columns spread over the cache.
    return static_cast<int64_t>(count | 1) * Columns::entry;
  }

  static int64_t workspace_size(int m, int n) {
    const auto eigh = n <= without_eigenvectors ? 0 : Eigh::workspace_size(n, /*vectors=*/true);
    return eigh + n * (groups * column(m) + column(m + n) + 2 * lane_count<T> + Columns::entry);
  }

  SvdWorkspace(Memory<T> memory, int m, int n) {
    for (int g = 0; g < groups; ++g) {
      A[g] = {memory.take(n * column(m)), column(m), m, n};
    }
    B = {memory.take(n * column(m + n)), column(m + n), m, n};
    values = memory.row(n);
    factors = memory.row(n);
    phases = memory.take(static_cast<int64_t>(n) * Columns::entry);
    rest = memory;
  }

  Columns A[groups];
  Columns B; // with V
  T* values; // the singular values; their approximate squares before
  T* factors;
  T* phases;
  Memory<T> rest{nullptr};
};

/// Computes the eigenvectors V of A^H A, approximately.
template <typename T, bool is_complex, int groups>
__attribute__((noinline)) void approximate_right_vectors(
    const SvdWorkspace<T, is_complex, groups>& workspace,
    int n,
    View<T> (&V)[groups]) {
  const LaneWorkspace<T, is_complex, groups> eigh(workspace.rest, n, /*vectors=*/true);
  Vec<T> size[groups];
  for (int g = 0; g < groups; ++g) {
    const auto& group = eigh.group[g];
    const auto& A = workspace.A[g];
    const View<T> columns{A.begin, ColumnMatrix<T, is_complex>::entry, A.column};
    const View<T> product{group.A, group.row, group.entry};
    multiply<T, is_complex, Conjugated::left, Part::lower>(n, A.rows, columns.transposed(), columns, product);
    Vec<T> largest(T(0));
    for (int i = 0; i < n; ++i) {
      largest = larger(largest, load(group.at(group.A, i, i)));
    }
    const Scale<T> units(largest);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j <= i; ++j) {
        T* entry = group.at(group.A, i, j);
        store_entry(entry, scale(load_entry<T, is_complex>(entry), units.to));
      }
      if constexpr (is_complex) {
        store(group.at(group.A, i, i) + lane_count<T>, Vec<T>(T(0)));
      }
    }
    size[g] = units.size;
  }
  // If QL did not converge, the columns are still orthonormal, and Jacobi finishes.
  solve<T, is_complex, groups>(eigh, n, /*vectors=*/true, size);
  for (int g = 0; g < groups; ++g) {
    V[g] = {eigh.group[g].Q, eigh.group[g].row, eigh.group[g].entry};
  }
}

/// Normalises the columns of V, whose norms have the round-off of QL. Writes A V to B, and V below it.
template <typename T, bool is_complex>
void rotate_columns(const ColumnMatrix<T, is_complex>& A, const View<T>& V, const ColumnMatrix<T, is_complex>& B) {
  constexpr int entry = ColumnMatrix<T, is_complex>::entry;
  const int m = A.rows;
  const int n = A.columns;
  for (int j = 0; j < n; ++j) {
    Vec<T> norm_squared(T(0));
    for (int i = 0; i < n; ++i) {
      norm_squared = add_squared(load_entry<T, is_complex>(V.at(i, j)), norm_squared);
    }
    const auto inverse = Vec<T>(T(1)) / norm_squared.sqrt();
    for (int i = 0; i < n; ++i) {
      const auto v = scale(load_entry<T, is_complex>(V.at(i, j)), inverse);
      store_entry(V.at(i, j), v);
      store_entry(B.at(m + i, j), v);
    }
  }
  const View<T> left{A.begin, entry, A.column};
  const View<T> product{B.begin, entry, B.column};
  multiply<T, is_complex, Conjugated::none, Part::all>(m, n, n, left, V, product);
}

/// Writes A to B, and the identity below it.
template <typename T, bool is_complex>
void copy_columns(const ColumnMatrix<T, is_complex>& A, const ColumnMatrix<T, is_complex>& B) {
  for (int j = 0; j < A.columns; ++j) {
    for (int i = 0; i < A.rows; ++i) {
      store_entry(B.at(i, j), load_entry<T, is_complex>(A.at(i, j)));
    }
    for (int i = 0; i < A.columns; ++i) {
      store_entry(B.at(A.rows + i, j), real_entry<T, is_complex>(Vec<T>(T(i == j ? 1 : 0))));
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
