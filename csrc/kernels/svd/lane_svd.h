#pragma once

#include "kernels/eigh/flush_underflow.h"
#include "kernels/eigh/lane_findings.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/svd/column_reflections.h"
#include "kernels/svd/right_vectors.h"
#include "kernels/svd/svd_batch.h"

// The singular value decomposition of matrices, one in each lane.
//
// The eigenvectors V of A^H A give B = A V, whose columns are nearly orthogonal. One-sided Jacobi makes them orthogonal
// to working precision, so squaring A costs no accuracy. The norms of the columns are the singular values.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T>
SPECTRALGRAD_INLINE Vec<T> select_entry(const Mask<T>& mask, const Vec<T>& yes, const Vec<T>& no) {
  return select(mask, yes, no);
}
template <typename T>
SPECTRALGRAD_INLINE Complex<T> select_entry(const Mask<T>& mask, const Complex<T>& yes, const Complex<T>& no) {
  return {select(mask, yes.re, no.re), select(mask, yes.im, no.im)};
}

/// Normalises the columns of B and of V, conjugates V, and writes the singular values of the scaled matrices. `spare`:
/// memory for a matrix like B.
template <typename T, bool is_complex, int groups>
__attribute__((noinline)) void finish_columns(
    const SvdWorkspace<T, is_complex, groups>& workspace,
    const ColumnMatrix<T, is_complex>& spare,
    bool vectors) {
  constexpr int W = lane_count<T>;
  const auto& B = workspace.B;
  const int m = B.rows;
  const int n = B.columns;
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  auto largest = zero;
  auto smallest = Vec<T>(std::numeric_limits<T>::max());
  auto before = smallest;
  for (int j = 0; j < n; ++j) {
    const auto norm_squared = squared_norm<T, is_complex>(B.at(0, j), m);
    // The round-off of V: |A v|/|v| is the singular value.
    const auto v_inverse = vectors ? one / squared_norm<T, is_complex>(B.at(m, j), n).sqrt() : one;
    largest = larger(largest, norm_squared);
    smallest = smaller(smallest, norm_squared);
    // Round-off must not change the order.
    before = smaller(before, norm_squared.sqrt() * v_inverse);
    store(workspace.values + j * W, before);
    for (int i = 0; vectors && i < n; ++i) {
      T* entry = B.at(m + i, j);
      store_entry(entry, conj(scale(load_entry<T, is_complex>(entry), v_inverse)));
    }
  }
  if (!vectors) {
    return;
  }
  const auto divides = Vec<T>(small_column<T> * small_column<T>) * largest < smallest;
  const bool reflects = any<T>(negation<T>(divides));
  if (reflects) {
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        store_entry(spare.at(i, j), load_entry<T, is_complex>(B.at(i, j)));
      }
    }
    normalize_by_reflections<T, is_complex>(spare, largest, workspace.factors, workspace.phases);
  }
  for (int j = 0; j < n; ++j) {
    const auto norm_squared = squared_norm<T, is_complex>(B.at(0, j), m);
    const auto inverse = one / select(divides, norm_squared, one).sqrt();
    for (int i = 0; i < m; ++i) {
      T* entry = B.at(i, j);
      auto u = scale(load_entry<T, is_complex>(entry), inverse);
      if (reflects) {
        u = select_entry(divides, u, load_entry<T, is_complex>(spare.at(i, j)));
      }
      store_entry(entry, u);
    }
  }
}

/// Decomposes group `g`, whose eigenvectors of A^H A are V. Writes U and conj(V) to B, and the singular values of the
/// scaled matrices. Returns the lanes that did not converge.
template <typename T, bool is_complex, int groups>
__attribute__((noinline)) Mask<T> decompose_group(
    const SvdWorkspace<T, is_complex, groups>& workspace,
    int g,
    const View<T>& V,
    bool vectors) {
  const auto& A = workspace.A[g];
  const auto& B = workspace.B;
  if (A.columns > without_eigenvectors) {
    rotate_columns<T, is_complex>(A, V, B);
  } else {
    copy_columns<T, is_complex>(A, B);
  }
  const auto unfinished =
      orthogonalize_columns<T, is_complex>(B, vectors ? A.rows + A.columns : A.rows, workspace.values);
  finish_columns<T, is_complex>(workspace, A, vectors);
  return unfinished;
}

template <typename T, bool is_complex, int groups>
void svd_at_once(const SvdBatch<T>& batch, int64_t first, int64_t end, T* memory, EighFindings& findings) {
  using Columns = ColumnMatrix<T, is_complex>;
  constexpr int64_t W = lane_count<T>;
  constexpr int entry = Columns::entry;
  constexpr int parts = Columns::parts;
  const int m = batch.rows;
  const int n = batch.columns;
  const bool vectors = batch.left != nullptr;
  const Vec<T> zero(T(0));
  const SvdWorkspace<T, is_complex, groups> workspace(Memory<T>(memory), m, n);
  Members members[groups];
  Vec<T> from[groups];
  Vec<T> nan_or_zero[groups];
  for (int g = 0; g < groups; ++g) {
    const auto& A = workspace.A[g];
    // A group beyond the end repeats the last matrix.
    const auto start = first + g * W < end ? first + g * W : end - 1;
    members[g] = {start, static_cast<int>(end - start < W ? end - start : W)};
    const View<T> by_rows{A.begin, entry, A.column};
    const int numbers = m * n * parts;
    if (batch.by_columns) {
      load_numbers<T, 0>(batch.matrices, numbers, numbers, members[g], Cursor<T, is_complex>(by_rows.transposed(), m));
    } else {
      load_numbers<T, 0>(batch.matrices, numbers, numbers, members[g], Cursor<T, is_complex>(by_rows, n));
    }
    Extent<T> extent;
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        extent.add(load_entry<T, is_complex>(A.at(i, j)));
      }
    }
    const auto finite = extent.finite();
    const Scale<T> units(where(finite, extent.largest));
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        T* at = A.at(i, j);
        store_entry(at, where_entry(finite, scale(load_entry<T, is_complex>(at), units.to)));
      }
    }
    from[g] = units.from;
    // NaN in lanes with non-finite matrices, zero in the others.
    nan_or_zero[g] = extent.zeros * zero;
    note<T>(negation<T>(finite), members[g], findings.not_finite);
  }
  View<T> V[groups]{};
  if (n > without_eigenvectors) {
    const FlushUnderflow flush;
    approximate_right_vectors<T, is_complex, groups>(workspace, n, V);
  }
  for (int g = 0; g < groups && first + g * W < end; ++g) {
    const auto& B = workspace.B;
    Mask<T> unfinished;
    {
      const FlushUnderflow flush;
      unfinished = decompose_group<T, is_complex, groups>(workspace, g, V[g], vectors);
    }
    note<T>(unfinished, members[g], findings.not_converged);
    for (int j = 0; j < n; ++j) {
      T* value = workspace.values + j * W;
      store(value, fma(load(value), from[g], nan_or_zero[g]));
      for (int i = 0; vectors && i < (m + n) * parts; ++i) {
        T* number = B.at(0, j) + i * W;
        // The addition also turns -0 into 0.
        store(number, load(number) + nan_or_zero[g]);
      }
    }
    store_numbers<T, 0>(batch.singular_values, n, n, members[g], Cursor<T, false>({workspace.values, 0, W}, n));
    if (!vectors) {
      continue;
    }
    const View<T> left{B.at(0, 0), entry, B.column};
    const View<T> right{B.at(m, 0), entry, B.column};
    const auto left_numbers = m * n * parts;
    const auto right_numbers = n * n * parts;
    const auto store_by_columns = [&](T* to, int numbers, const View<T>& matrix, int rows) {
      store_numbers<T, 0>(to, numbers, numbers, members[g], Cursor<T, is_complex>(matrix.transposed(), rows));
    };
    const auto store_by_rows = [&](T* to, int numbers, const View<T>& matrix) {
      store_numbers<T, 0>(to, numbers, numbers, members[g], Cursor<T, is_complex>(matrix, n));
    };
    if (batch.is_transposed) {
      store_by_rows(batch.left, left_numbers, left);
      store_by_columns(batch.right, right_numbers, right, n);
    } else {
      store_by_columns(batch.left, left_numbers, left, m);
      store_by_rows(batch.right, right_numbers, right);
    }
  }
}

/// The number of groups whose eigenvectors are computed at once.
constexpr int svd_groups = 2;

template <typename T, bool is_complex>
void decompose_svd(const SvdBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  constexpr int64_t W = lane_count<T>;
  for (; begin + W < end && batch.columns > without_eigenvectors; begin += svd_groups * W) {
    svd_at_once<T, is_complex, svd_groups>(batch, begin, end, memory, findings);
  }
  for (; begin < end; begin += W) {
    svd_at_once<T, is_complex, 1>(batch, begin, end, memory, findings);
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
