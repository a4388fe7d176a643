#pragma once

#include "kernels/simd/entry.h"

// Products of small matrices, one pair in each lane.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// A matrix in lanes, or its transpose: entry (i, j) at `begin` + i * down + j * right.
template <typename T>
struct View {
  T* begin;
  int64_t down;
  int64_t right;

  SPECTRALGRAD_INLINE T* at(int i, int j) const {
    return begin + i * down + j * right;
  }
  SPECTRALGRAD_INLINE View transposed() const {
    return {begin, right, down};
  }
};

/// Walks through the numbers of a matrix with n columns, row by row. Each call returns the address of the next
/// number, as `load_numbers` and `store_numbers` need it.
template <typename T, bool is_complex>
class Cursor {
 public:
  SPECTRALGRAD_INLINE Cursor(const View<T>& matrix, int n) : matrix_(matrix), end_(n * parts) {}

  SPECTRALGRAD_INLINE T* operator()() const {
    T* here = matrix_.at(row_, at_ / parts) + at_ % parts * lane_count<T>;
    if (++at_ == end_) {
      at_ = 0;
      ++row_;
    }
    return here;
  }

 private:
  static constexpr int parts = is_complex ? 2 : 1;
  View<T> matrix_;
  int end_;
  mutable int row_ = 0;
  mutable int at_ = 0;
};

/// The part of a product that is computed.
enum class Part { all, lower };
/// The factor whose entries are conjugated.
enum class Conjugated { none, left, right };

template <typename T, bool is_complex, Conjugated conjugated>
SPECTRALGRAD_INLINE Entry<T, is_complex> multiply_add(
    const Entry<T, is_complex>& a,
    const Entry<T, is_complex>& b,
    const Entry<T, is_complex>& sum) {
  if constexpr (conjugated == Conjugated::left) {
    return add_conj_product(a, b, sum);
  } else if constexpr (conjugated == Conjugated::right) {
    return add_conj_product(b, a, sum);
  } else {
    return add_product(a, b, sum);
  }
}

template <typename T, bool is_complex, Conjugated conjugated, int rows, int columns>
SPECTRALGRAD_INLINE void multiply_tile(
    int inner,
    const View<T>& left,
    const View<T>& right,
    const View<T>& product,
    int row,
    int column) {
  using E = Entry<T, is_complex>;
  E sum[rows][columns];
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      sum[r][c] = zero_entry<T, is_complex>();
    }
  }
  for (int k = 0; k < inner; ++k) {
    E a[rows];
    E b[columns];
    for (int r = 0; r < rows; ++r) {
      a[r] = load_entry<T, is_complex>(left.at(row + r, k));
    }
    for (int c = 0; c < columns; ++c) {
      b[c] = load_entry<T, is_complex>(right.at(k, column + c));
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) {
        sum[r][c] = multiply_add<T, is_complex, conjugated>(a[r], b[c], sum[r][c]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      store_entry(product.at(row + r, column + c), sum[r][c]);
    }
  }
}

/// Computes `product` (rows x columns) = left (rows x inner) right (inner x columns). With `Part::lower`, for square
/// products, only the lower triangle with the diagonal is complete; some entries above it are computed, too.
/// `known_rows` and `known_columns` are the sizes if they are known at compile time, else 0.
template <
    typename T,
    bool is_complex,
    Conjugated conjugated,
    Part part,
    int known_rows = 0,
    int known_columns = known_rows>
SPECTRALGRAD_INLINE void multiply(
    int rows,
    int columns,
    int inner,
    const View<T>& left,
    const View<T>& right,
    const View<T>& product) {
  // As many sums as fit into the registers.
  constexpr int most = is_complex ? 2 : (sizeof(Vec<T>) == 64 ? 4 : 3);
  constexpr int height = known_rows != 0 && known_rows < most ? known_rows : most;
  constexpr int width = known_columns != 0 && known_columns < most ? known_columns : most;
  const auto last = [&](int row) {
    return part == Part::lower && row < columns ? row : columns;
  };
  int row = 0;
  for (; row + height <= rows; row += height) {
    int column = 0;
    const int end = last(row + height);
    for (; column + width <= end; column += width) {
      multiply_tile<T, is_complex, conjugated, height, width>(inner, left, right, product, row, column);
    }
    for (; column < end; ++column) {
      multiply_tile<T, is_complex, conjugated, height, 1>(inner, left, right, product, row, column);
    }
  }
  for (; row < rows; ++row) {
    int column = 0;
    const int end = last(row + 1);
    for (; column + width <= end; column += width) {
      multiply_tile<T, is_complex, conjugated, 1, width>(inner, left, right, product, row, column);
    }
    for (; column < end; ++column) {
      multiply_tile<T, is_complex, conjugated, 1, 1>(inner, left, right, product, row, column);
    }
  }
}

/// The same for n x n products.
template <typename T, bool is_complex, Conjugated conjugated, Part part, int known_n = 0>
SPECTRALGRAD_INLINE void multiply(int n, int inner, const View<T>& left, const View<T>& right, const View<T>& product) {
  multiply<T, is_complex, conjugated, part, known_n>(n, n, inner, left, right, product);
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
