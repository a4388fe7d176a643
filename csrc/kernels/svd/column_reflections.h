#pragma once

#include "kernels/svd/column_pairs.h"

// Householder QR of a matrix with nearly orthogonal columns in descending order. R is diagonal up to round-off, so Q
// holds the normalised columns, and completes them where they are zero.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Replaces column `j`, from row `first` on, by that of (I - v v^H factor) X. `v` is column `first`.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE void reflect_column(const ColumnMatrix<T, is_complex>& X, int first, int j, const Vec<T>& factor) {
  constexpr int entry = ColumnMatrix<T, is_complex>::entry;
  const int count = X.rows - first;
  const T* v = X.at(first, first);
  T* x = X.at(first, j);
  const auto product = scale(inner_product<T, is_complex>(v, x, count), factor);
  for (int i = 0; i < count; ++i) {
    const auto v_i = load_entry<T, is_complex>(v + i * entry);
    store_entry(x + i * entry, subtract_product(v_i, product, load_entry<T, is_complex>(x + i * entry)));
  }
}

/// Replaces X by U, with orthonormal columns, such that U^H X is diagonal, up to round-off, with a diagonal >= 0.
/// `size` is the squared norm of the matrix; columns that are negligible beside it count as zero. `factors` and
/// `phases` are workspaces for one vector or entry for each column.
template <typename T, bool is_complex>
__attribute__((noinline)) void normalize_by_reflections(
    const ColumnMatrix<T, is_complex>& X,
    const Vec<T>& size,
    T* factors,
    T* phases) {
  using E = Entry<T, is_complex>;
  constexpr int W = lane_count<T>;
  constexpr int entry = ColumnMatrix<T, is_complex>::entry;
  constexpr T eps = Tolerance<T>::eps;
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  const int n = X.columns;
  for (int j = 0; j < n; ++j) {
    T* x = X.at(j, j);
    const auto norm_squared = squared_norm<T, is_complex>(x, X.rows - j);
    const auto reflects = size * Vec<T>(eps * eps * eps) < norm_squared;
    const auto inverse = where(reflects, one / select(reflects, norm_squared, one).sqrt());
    for (int i = 0; i < X.rows - j; ++i) {
      store_entry(x + i * entry, where_entry(reflects, scale(load_entry<T, is_complex>(x + i * entry), inverse)));
    }
    const auto alpha = load_entry<T, is_complex>(x);
    const auto alpha_squared = squared(alpha);
    E phase;
    Vec<T> length = zero;
    if constexpr (is_complex) {
      // An alpha whose square may have underflowed is negligible beside the norm, which is 1.
      const auto there = Vec<T>(eps * eps * eps) < alpha_squared;
      const auto root = select(there, alpha_squared, one).sqrt();
      const auto turn = one / root;
      length = where(there, root);
      phase = {select(there, alpha.re * turn, one), where(there, alpha.im * turn)};
    } else {
      length = alpha.abs();
      phase = with_sign_of(alpha, one);
    }
    store_entry(x, where_entry(reflects, scale(phase, length + one)));
    // From v as it is, because H must be unitary to working precision.
    const auto v_squared = squared_norm<T, is_complex>(x, X.rows - j);
    const auto factor = where(reflects, Vec<T>(T(2)) / select(reflects, v_squared, one));
    store(factors + j * W, factor);
    // The reflection takes the column to -phase.
    store_entry(phases + j * entry, scale(phase, select(reflects, zero - one, one)));
    for (int k = j + 1; k < n; ++k) {
      reflect_column<T, is_complex>(X, j, k, factor);
    }
  }
  for (int j = n - 1; j >= 0; --j) {
    const auto factor = load(factors + j * W);
    for (int k = j + 1; k < n; ++k) {
      reflect_column<T, is_complex>(X, j, k, factor);
    }
    const auto phase = load_entry<T, is_complex>(phases + j * entry);
    // Column j of H is e_j - v conj(v_j) factor.
    const auto turned =
        add_product(phase, scale(conj(load_entry<T, is_complex>(X.at(j, j))), factor), zero_entry<T, is_complex>());
    for (int i = 0; i < X.rows; ++i) {
      T* x = X.at(i, j);
      const auto start = i == j ? phase : zero_entry<T, is_complex>();
      store_entry(x, i < j ? start : subtract_product(load_entry<T, is_complex>(x), turned, start));
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
