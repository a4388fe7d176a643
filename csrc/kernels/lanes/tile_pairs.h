#pragma once

#include "kernels/lanes/exchange.h"

// Passes over one large matrix that make something of each entry and the one across the diagonal: tile by tile, so that both are
// read and written along the rows, with vectors along them.
namespace spectralgrad::kernels::lanes::inline CPU_CAPABILITY {

/// Some entries of a row, from [i, j] on; those beyond the row's end are zero and are not written.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Entry<T, is_complex> load_along(const T* from, int count) {
  constexpr int W = lane_count<T>;
  if constexpr (is_complex) {
    const int in_second = 2 * count > W ? 2 * count - W : 0;
    const auto first = count == W ? load(from) : Vec<T>::loadu(from, 2 * count < W ? 2 * count : W);
    const auto second = count == W ? load(from + W)
                                   : (in_second > 0 ? Vec<T>::loadu(from + W, in_second) : Vec<T>(T(0)));
    const auto parts = at::vec::deinterleave2(first, second);
    return {parts.first, parts.second};
  } else {
    return count == W ? load(from) : Vec<T>::loadu(from, count);
  }
}

template <typename T>
SPECTRALGRAD_INLINE void store_along(T* to, const Vec<T>& x, int count) {
  x.store(to, count);
}
template <typename T>
SPECTRALGRAD_INLINE void store_along(T* to, const Complex<T>& z, int count) {
  constexpr int W = lane_count<T>;
  const auto parts = at::vec::interleave2(z.re, z.im);
  parts.first.store(to, 2 * count < W ? 2 * count : W);
  if (2 * count > W) {
    parts.second.store(to + W, 2 * count - W);
  }
}

/// The conjugate transpose of a tile.
template <typename T>
SPECTRALGRAD_INLINE void adjoint(Vec<T> (&x)[lane_count<T>]) {
  interleave<T>(x);
}
template <typename T>
SPECTRALGRAD_INLINE void adjoint(Complex<T> (&z)[lane_count<T>]) {
  constexpr int W = lane_count<T>;
  Vec<T> re[W];
  Vec<T> im[W];
  for (int i = 0; i < W; ++i) {
    re[i] = z[i].re;
    im[i] = Vec<T>(T(0)) - z[i].im;
  }
  interleave<T>(re);
  interleave<T>(im);
  for (int i = 0; i < W; ++i) {
    z[i] = {re[i], im[i]};
  }
}

/// Replaces a matrix X (n x n, row by row) by the Hermitian one whose entries (i, j), from the diagonal to the right, are what
/// `f(i, j, count, upper, lower)` makes of X_ij and conj(X_ji), for `count` columns from j on. Rows from `begin` to `end`, in
/// units of a tile, whose partners are in the columns below them.
template <typename T, bool is_complex, typename F>
SPECTRALGRAD_INLINE void for_tile_pairs(T* X, int64_t n, int64_t begin, int64_t end, const F& f) {
  constexpr int W = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  using E = Entry<T, is_complex>;
  const auto count_from = [&](int64_t at) {
    return static_cast<int>(n - at < W ? n - at : W);
  };
  for (auto row = begin * W; row < n && row < end * W; row += W) {
    const int rows = count_from(row);
    for (auto column = row; column < n; column += W) {
      const int columns = count_from(column);
      E upper[W];
      E lower[W];
      for (int r = 0; r < W; ++r) {
        upper[r] = lower[r] = zero_entry<T, is_complex>();
      }
      for (int r = 0; r < rows; ++r) {
        upper[r] = load_along<T, is_complex>(X + ((row + r) * n + column) * parts, columns);
      }
      for (int r = 0; r < columns; ++r) {
        lower[r] = load_along<T, is_complex>(X + ((column + r) * n + row) * parts, rows);
      }
      // The next tile of these columns is rows further down, where no machine looks by itself.
      const auto next = column + W;
      for (int64_t r = next; r < n && r < next + W; ++r) {
        __builtin_prefetch(X + (r * n + row) * parts);
      }
      adjoint<T>(lower);
      for (int r = 0; r < rows; ++r) {
        upper[r] = f(row + r, column, columns, upper[r], lower[r]);
        store_along<T>(X + ((row + r) * n + column) * parts, upper[r], columns);
      }
      if (row != column) {
        adjoint<T>(upper);
        for (int r = 0; r < columns; ++r) {
          store_along<T>(X + ((column + r) * n + row) * parts, upper[r], rows);
        }
      }
    }
  }
}

} // namespace spectralgrad::kernels::lanes::inline CPU_CAPABILITY
