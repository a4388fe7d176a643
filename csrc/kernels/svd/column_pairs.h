#pragma once

#include "kernels/eigh/jacobi.h"
#include "kernels/simd/entry.h"

// One-sided Jacobi: rotates the columns of a matrix B until they are orthogonal, and the columns of V with them.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 8.6.3. The rotations also put the columns in
// the descending order of their norms.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Matrices in lanes, column by column. Column j holds the `rows` entries of column j of B, and then the `columns`
/// entries of column j of V if there is a V.
template <typename T, bool is_complex>
struct ColumnMatrix {
  static constexpr int parts = is_complex ? 2 : 1;
  static constexpr int entry = parts * lane_count<T>;

  T* begin;
  int64_t column; // distance between columns, in numbers
  int rows;
  int columns;

  SPECTRALGRAD_INLINE T* at(int i, int j) const {
    return begin + j * column + i * entry;
  }
};

/// The squared norm of `count` consecutive entries.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Vec<T> squared_norm(const T* x, int count) {
  constexpr int entry = (is_complex ? 2 : 1) * lane_count<T>;
  Vec<T> even(T(0));
  Vec<T> odd(T(0));
  int i = 0;
  for (; i + 2 <= count; i += 2) {
    even = add_squared(load_entry<T, is_complex>(x + i * entry), even);
    odd = add_squared(load_entry<T, is_complex>(x + (i + 1) * entry), odd);
  }
  return (i < count ? add_squared(load_entry<T, is_complex>(x + i * entry), even) : even) + odd;
}

/// x^H y of `count` consecutive entries.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> inner_product(const T* x, const T* y, int count) {
  constexpr int entry = (is_complex ? 2 : 1) * lane_count<T>;
  const auto at = [](const T* z, int i) {
    return load_entry<T, is_complex>(z + i * entry);
  };
  auto even = zero_entry<T, is_complex>();
  auto odd = even;
  int i = 0;
  for (; i + 2 <= count; i += 2) {
    even = add_conj_product(at(x, i), at(y, i), even);
    odd = add_conj_product(at(x, i + 1), at(y, i + 1), odd);
  }
  if (i < count) {
    even = add_conj_product(at(x, i), at(y, i), even);
  }
  return add_scaled(even, Vec<T>(T(1)), odd);
}

/// Columns with a norm above this fraction of the largest one become orthogonal to each other relative to both norms,
/// so that they only need to be divided by their norms. The others become orthogonal relative to the larger norm and
/// the norm of the matrix; U is completed by reflections there.
template <typename T>
inline constexpr T small_column = sizeof(T) == 4 ? T(1) / (1 << 14) : T(1) / (1 << 20);

/// Rotates the columns until they are orthogonal. `rotated`: the number of entries of each column that are rotated; the
/// others are left as they are. `norms`: workspace for one vector for each column. Returns the lanes that did not
/// converge.
template <typename T, bool is_complex>
__attribute__((noinline)) Mask<T> orthogonalize_columns(
    const ColumnMatrix<T, is_complex>& matrix,
    int rotated,
    T* norms) {
  constexpr int W = lane_count<T>;
  constexpr int entry = ColumnMatrix<T, is_complex>::entry;
  constexpr int most_sweeps = 40;
  const int n = matrix.columns;
  // The round-off of an inner product of unit vectors, squared.
  const Vec<T> strict(Tolerance<T>::eps * Tolerance<T>::eps * static_cast<T>(matrix.rows));
  // The round-off of a rotation of a large and a negligible column.
  constexpr T round_off = 2 * Tolerance<T>::eps;
  const Vec<T> zero(T(0));
  auto active = negation<T>(Mask<T>(T(0)));
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    auto largest = zero;
    for (int j = 0; j < n; ++j) {
      const auto norm = squared_norm<T, is_complex>(matrix.at(0, j), matrix.rows);
      store(norms + j * W, norm);
      largest = larger(largest, norm);
    }
    const auto small = largest * Vec<T>(small_column<T> * small_column<T>);
    const auto weak = largest * Vec<T>(round_off * round_off);
    auto unfinished = zero;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        T* x = matrix.at(0, q);
        T* y = matrix.at(0, p);
        const auto product = inner_product<T, is_complex>(x, y, matrix.rows);
        const auto x_norm = load(norms + q * W);
        const auto y_norm = load(norms + p * W);
        const auto lower_norm = smaller(x_norm, y_norm);
        const auto upper_norm = larger(x_norm, y_norm);
        const auto product_squared = squared(product);
        const auto threshold = select(small < lower_norm, lower_norm * strict, weak) * upper_norm;
        const auto negligible = (product_squared <= threshold) | negation<T>(active);
        // As `rotation` decides: a difference that underflows counts as none.
        const auto unordered = active & (y_norm - x_norm < zero);
        const auto rotates = negation<T>(negligible);
        // An exchange also moves a column past pairs of this sweep.
        const auto changes = rotates | unordered;
        unfinished = unfinished | changes;
        if (!any<T>(changes)) {
          continue;
        }
        // Lanes that are finished must not exchange columns either: their norms are passed as equal.
        const auto low = select(active, x_norm, y_norm);
        const auto R = rotation<T, is_complex>(low, y_norm, product, product_squared, negligible);
        // Cancellation may make the difference negative.
        store(norms + q * W, select(active, larger(R.low, zero), x_norm));
        store(norms + p * W, R.high);
        for (int i = 0; i < rotated; ++i) {
          auto a = load_entry<T, is_complex>(x + i * entry);
          auto b = load_entry<T, is_complex>(y + i * entry);
          rotate<T, is_complex>(R, a, b);
          store_entry(x + i * entry, a);
          store_entry(y + i * entry, b);
        }
      }
    }
    active = active & unfinished;
    if (!any<T>(active)) {
      break;
    }
  }
  return active;
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
