#pragma once

#include "core/tolerances.h"
#include "kernels/eigh/divide_and_conquer/lanes.h"
#include "kernels/eigh/divide_and_conquer/tasks.h"
#include "kernels/simd/exchange.h"
#include "kernels/simd/memory.h"

#include <cmath>
#include <cstdint>

// Reduction of a real symmetric matrix to tridiagonal form, with neighbouring entries of a row in the SIMD lanes.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 8.3.1. As in kernels/eigh/tridiagonal.h, rows
// are reflected from the last one up, each reflection takes one pass over A, and the diagonal is kept in two words.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T>
SPECTRALGRAD_INLINE T sum_of_lanes(const Vec<T>& x) {
  return join_lanes<T>(x, [](T a, T b) { return a + b; });
}

/// A symmetric matrix and the reflections H_i = I - factor_i v_i v_i^T that reduce it. Vectors of numbers are padded
/// with zeros to whole registers.
template <typename T>
struct SymmetricMatrix {
  int n;
  int row; // distance between rows, an odd number of registers, so that columns spread over the cache
  /// In row i, the entries left of the diagonal, then zeros. The reduction replaces them by v_i.
  T* A;
  T* diagonal; // the high words
  T* diagonal_low;
  T* factors;

  static int row_length(int n) {
    return (padded<T>(n) / lane_count<T> | 1) * lane_count<T>;
  }
  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(row_length(n)) * (n + 3);
  }
  SymmetricMatrix(int size, Memory<T>& memory)
      : n(size),
        row(row_length(size)),
        A(memory.take(static_cast<int64_t>(size) * row)),
        diagonal(memory.take(row)),
        diagonal_low(memory.take(row)),
        factors(memory.take(row)) {}

  SPECTRALGRAD_INLINE T* at(int i) const {
    return A + static_cast<int64_t>(i) * row;
  }
};

/// The vectors of a reduction.
template <typename T>
struct ReductionVectors {
  T* w_before; // of the previous reflection, whose update A -= v w^T + w v^T the next pass applies
  T* product; // A v, without the part that the next member has; a sum of `task_count` rows, one of each task
  T* row_sums; // n registers: their lanes sum to the products of the rows with v
  T* row_products; // these sums
  T* zeros; // v of the reflection before the first

  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(SymmetricMatrix<T>::row_length(n)) * (3 + task_count(n) + lane_count<T>);
  }
  ReductionVectors(int n, int row, Memory<T>& memory)
      : w_before(memory.take(row)),
        product(memory.take(static_cast<int64_t>(task_count(n)) * row)),
        row_sums(memory.row(row)),
        row_products(memory.take(row)),
        zeros(memory.take(row)) {}
};

/// Applies the previous update to `rows` rows of A from `first` on, and adds their contribution to A v.
template <typename T, int rows>
SPECTRALGRAD_INLINE void update_and_multiply(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const T* v_before,
    const T* v,
    int first,
    T* products) {
  constexpr int W = lane_count<T>;
  const T* w_before = vectors.w_before;
  Vec<T> v_row[rows];
  Vec<T> v_before_row[rows];
  Vec<T> w_before_row[rows];
  Vec<T> sum[rows];
  for (int r = 0; r < rows; ++r) {
    v_row[r] = Vec<T>(v[first + r]);
    v_before_row[r] = Vec<T>(v_before[first + r]);
    w_before_row[r] = Vec<T>(w_before[first + r]);
    sum[r] = Vec<T>(T(0));
  }
  T* A = matrix.at(first);
  const auto process = [&](int c, const auto& left_of_diagonal) {
    const auto v_column = load(v + c);
    const auto v_before_column = load(v_before + c);
    const auto w_before_column = load(w_before + c);
    auto product = load(products + c);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      T* at = A + r * matrix.row + c;
      const auto updated = fnma(w_before_row[r], v_before_column, fnma(v_before_row[r], w_before_column, load(at)));
      const auto x = left_of_diagonal(r, updated);
      store(at, x);
      sum[r] = fma(x, v_column, sum[r]);
      product = fma(x, v_row[r], product);
    }
    store(products + c, product);
  };
  int c = 0;
  for (; c + W <= first; c += W) {
    process(c, [](int, const Vec<T>& x) { return x; });
  }
  for (; c < first + rows - 1; c += W) {
    const auto column = Vec<T>::arange(T(c), T(1));
    process(c, [&](int r, const Vec<T>& x) { return where(column < Vec<T>(T(first + r)), x); });
  }
  for (int r = 0; r < rows; ++r) {
    store(vectors.row_sums + static_cast<int64_t>(first + r) * W, sum[r]);
  }
}

/// Sums the lanes of `row_sums` for the rows begin <= i < end, where `begin` is a multiple of the number of lanes.
template <typename T>
SPECTRALGRAD_INLINE void sum_rows(const ReductionVectors<T>& vectors, int begin, int end) {
  constexpr int W = lane_count<T>;
  for (int c = begin; c < end; c += W) {
    Vec<T> sums[W];
#pragma GCC unroll 16
    for (int r = 0; r < W; ++r) {
      sums[r] = c + r < end ? load(vectors.row_sums + static_cast<int64_t>(c + r) * W) : Vec<T>(T(0));
    }
    interleave<T>(sums); // of a square: its transpose
#pragma GCC unroll 4
    for (int half = W / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (int r = 0; r < half; ++r) {
        sums[r] = sums[r] + sums[r + half];
      }
    }
    store(vectors.row_products + c, sums[0]);
  }
}

/// Applies the previous update to the rows above row `i`, and computes A v.
template <typename T>
SPECTRALGRAD_INLINE void update_and_multiply_all(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const T* v_before,
    int i,
    const Tasks& tasks) {
  constexpr int W = lane_count<T>;
  // AVX2 has registers for the vectors of two rows.
  constexpr int rows = W * sizeof(T) == 64 ? 4 : 2;
  const T* v = matrix.at(i);
  const int count = task_count(i);
  // Tasks have nearly equally many entries of the triangle.
  const auto first_row = [&](int task) {
    return task == count ? i : static_cast<int>(i * std::sqrt(static_cast<double>(task) / count)) / W * W;
  };
  tasks(count, [&](int task) {
    T* products = vectors.product + static_cast<int64_t>(task) * matrix.row;
    for (int c = 0; c < i; c += W) {
      store(products + c, Vec<T>(T(0)));
    }
    const int begin = first_row(task);
    const int end = first_row(task + 1);
    int first = begin;
    for (; first + rows <= end; first += rows) {
      update_and_multiply<T, rows>(matrix, vectors, v_before, v, first, products);
    }
    for (; first < end; ++first) {
      update_and_multiply<T, 1>(matrix, vectors, v_before, v, first, products);
    }
    sum_rows(vectors, begin, end);
  });
}

/// Applies the previous update to row `i` and to the diagonal up to it.
template <typename T>
SPECTRALGRAD_INLINE void update_row(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const T* v_before,
    int i) {
  const Vec<T> v_row(v_before[i]);
  const Vec<T> w_row(vectors.w_before[i]);
  T* row = matrix.at(i);
  for (int c = 0; c <= i; c += lane_count<T>) {
    const auto v = load(v_before + c);
    const auto w = load(vectors.w_before + c);
    const auto product = v * w;
    const auto change = product + product;
    const auto high = load(matrix.diagonal + c);
    const auto sum = high - change;
    // Two-sum: D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    const auto taken = high - sum;
    const auto rest = (high - (sum + taken)) - (change - taken);
    store(matrix.diagonal + c, sum);
    store(matrix.diagonal_low + c, load(matrix.diagonal_low + c) + rest);
    const auto updated = fnma(w_row, v, fnma(v_row, w, load(row + c)));
    store(row + c, where(Vec<T>::arange(T(c), T(1)) < Vec<T>(T(i)), updated));
  }
}

/// Replaces the entries of row `i` by v of the reflection that zeroes all but the last one, (i, i - 1). Returns that
/// entry after the reflection. If the others are negligible, there is no reflection, and v is zero.
template <typename T>
SPECTRALGRAD_INLINE T reflect_row(const SymmetricMatrix<T>& matrix, int i) {
  constexpr int W = lane_count<T>;
  T* row = matrix.at(i);
  const auto squares = [&] {
    Vec<T> sum(T(0));
    for (int c = 0; c < i - 1; c += W) {
      const auto x = where(Vec<T>::arange(T(c), T(1)) < Vec<T>(T(i - 1)), load(row + c));
      sum = fma(x, x, sum);
    }
    return sum_of_lanes<T>(sum);
  };
  const auto multiply = [&](T factor) {
    for (int c = 0; c < i; c += W) {
      store(row + c, load(row + c) * Vec<T>(factor));
    }
  };
  auto tail = squares();
  matrix.factors[i] = T(0);
  if (tail <= Tolerance<T>::nothing) {
    const T entry = row[i - 1];
    multiply(T(0));
    return entry;
  }
  // The length of v is arbitrary. A tiny row is scaled up, so that not even the round-off of its squares underflows.
  constexpr T far = T(1 << 20) * T(1 << 20);
  const bool is_tiny = tail < Tolerance<T>::nothing * (far * far);
  if (is_tiny) {
    multiply(far);
    tail = squares();
  }
  const T alpha = row[i - 1];
  const T norm = std::sqrt(alpha * alpha + tail);
  const T last = alpha + std::copysign(norm, alpha);
  row[i - 1] = last;
  matrix.factors[i] = T(2) / (tail + last * last);
  return -std::copysign(norm, alpha) / (is_tiny ? far : T(1));
}

/// Computes w = f A v - f^2 (v^T A v) v / 2, f = factor_i, from what the pass left in `vectors`, for the update of the
/// reflection of row `i`.
template <typename T>
SPECTRALGRAD_INLINE void finish_update(const SymmetricMatrix<T>& matrix, const ReductionVectors<T>& vectors, int i) {
  constexpr int W = lane_count<T>;
  const T* v = matrix.at(i);
  const int tasks = task_count(i);
  const Vec<T> factor(matrix.factors[i]);
  Vec<T> dot(T(0));
  for (int c = 0; c < i; c += W) {
    const auto v_column = load(v + c);
    auto sum = load(vectors.product + c);
    for (int task = 1; task < tasks; ++task) {
      sum = sum + load(vectors.product + static_cast<int64_t>(task) * matrix.row + c);
    }
    const auto product = factor * (sum + fma(load(matrix.diagonal + c), v_column, load(vectors.row_products + c)));
    store(vectors.product + c, product);
    dot = fma(product, v_column, dot);
  }
  const Vec<T> half(T(0.5) * matrix.factors[i] * sum_of_lanes<T>(dot));
  for (int c = 0; c < matrix.row; c += W) {
    store(vectors.w_before + c, c < i ? fnma(half, load(v + c), load(vectors.product + c)) : Vec<T>(T(0)));
  }
}

/// Reduces the matrix to tridiagonal form, A = Q T Q^T with Q = H_(n-1) ... H_1. Writes the diagonal of T to `d` (n)
/// and the off-diagonal to `e` (n - 1). `matrix` keeps the reflections.
template <typename T>
void reduce(const SymmetricMatrix<T>& matrix, const ReductionVectors<T>& vectors, T* d, T* e, const Tasks& tasks) {
  constexpr int W = lane_count<T>;
  const Vec<T> zero(T(0));
  for (int c = 0; c < matrix.row; c += W) {
    store(vectors.w_before + c, zero);
    store(vectors.zeros + c, zero);
    store(matrix.diagonal_low + c, zero);
  }
  const T* v_before = vectors.zeros;
  for (int i = matrix.n - 1; i >= 0; --i) {
    update_row(matrix, vectors, v_before, i);
    d[i] = matrix.diagonal[i] + matrix.diagonal_low[i];
    if (i == 0) {
      break;
    }
    e[i - 1] = reflect_row(matrix, i);
    update_and_multiply_all(matrix, vectors, v_before, i, tasks);
    finish_update(matrix, vectors, i);
    v_before = matrix.at(i);
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
