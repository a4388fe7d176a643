#pragma once

#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/simd/along_rows.h"
#include "kernels/simd/exchange.h"

#include <type_traits>

// Passes over one large matrix that combine each entry with the one across the diagonal. They work tile by tile, so
// that both are read and written along rows, a vector register at a time.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Replaces a tile, one register per row, by its conjugate transpose.
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

/// Replaces X (n x n, row-major), within one pair of blocks, by a Hermitian matrix (`to_skew`: a skew one).
/// `f(i, j, count, upper, lower)` returns `count` entries of its row i, from column j on, given X_ij (`upper`) and
/// conj(X_ji) (`lower`). `from_upper`: the lower triangle of X is not read, and `lower` is X_ij, except in tiles on the
/// diagonal.
template <typename T, bool is_complex, bool from_upper, bool to_skew = false, typename F>
SPECTRALGRAD_INLINE void for_tile_pairs(T* X, int64_t n, const BlockPair& blocks, const F& f) {
  constexpr int W = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  using E = Entry<T, is_complex>;
  const auto count_from = [&](int64_t at) {
    return static_cast<int>(n - at < W ? n - at : W);
  };
  // `whole` tiles have loops of constant length, so that their entries stay in registers.
  const auto pair = [&](int64_t row, int64_t column, auto whole) {
    const int rows = whole ? W : count_from(row);
    const int columns = whole ? W : count_from(column);
    const bool on_diagonal = row == column;
    const auto upper_row = [&](int r) {
      return X + ((row + r) * n + column) * parts;
    };
    const auto lower_row = [&](int r) {
      return X + ((column + r) * n + row) * parts;
    };
    E x[W];
    if (!from_upper || on_diagonal) {
      for (int r = 0; r < W; ++r) {
        x[r] = r < columns ? load_along<T, is_complex>(lower_row(r), rows) : zero_entry<T, is_complex>();
      }
      adjoint<T>(x);
    }
    // The next tile below the diagonal is in other rows, which no hardware prefetcher predicts.
    const auto next = column + W;
    for (int64_t r = next; r < blocks.column_end && r < next + W; ++r) {
      __builtin_prefetch(X + (r * n + row) * parts, from_upper ? 1 : 0);
    }
    for (int r = 0; r < W; ++r) {
      if (r < rows) {
        const auto upper = load_along<T, is_complex>(upper_row(r), columns);
        x[r] = f(row + r, column, columns, upper, from_upper && !on_diagonal ? upper : x[r]);
        store_along<T>(upper_row(r), x[r], columns);
      } else {
        x[r] = zero_entry<T, is_complex>();
      }
    }
    if (!on_diagonal) {
      adjoint<T>(x);
      for (int r = 0; r < W; ++r) {
        if (r < columns) {
          store_along<T>(lower_row(r), to_skew ? negate(x[r]) : x[r], rows);
        }
      }
    }
  };
  for (auto row = blocks.row; row < blocks.row_end && row < n; row += W) {
    for (auto column = row < blocks.column ? blocks.column : row; column < blocks.column_end && column < n;
         column += W) {
      if (n - column >= W) {
        pair(row, column, std::true_type());
      } else {
        pair(row, column, std::false_type());
      }
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
