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
// Only every second pass updates A, by two reflections at once, so that fewer entries are written.
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

/// The update A -= v w^T + w v^T by a reflection.
template <typename T>
struct Update {
  const T* v;
  T* w;
};

/// The vectors of a reduction.
template <typename T>
struct ReductionVectors {
  T* w[2]; // of the last two reflections
  T* product; // A v, without the part that the next member has; a sum of `task_count` rows, one of each task
  T* row_sums; // n registers: their lanes sum to the products of the rows with v
  T* row_products; // these sums
  T* zeros;

  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(SymmetricMatrix<T>::row_length(n)) * (4 + task_count(n) + lane_count<T>);
  }
  ReductionVectors(int n, int row, Memory<T> memory)
      : w{memory.take(row), memory.take(row)},
        product(memory.take(static_cast<int64_t>(task_count(n)) * row)),
        row_sums(memory.row(row)),
        row_products(memory.take(row)),
        zeros(memory.take(row)) {}
};

/// Applies `count` updates to `rows` rows of A from `first` on, and adds the contribution of these rows to A v.
template <typename T, int rows, int count>
SPECTRALGRAD_INLINE void update_and_multiply(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const Update<T>* updates,
    const T* v,
    int first,
    T* products) {
  constexpr int W = lane_count<T>;
  constexpr int most = 2;
  static_assert(count <= most);
  Vec<T> v_row[rows];
  Vec<T> v_of_row[most][rows];
  Vec<T> w_of_row[most][rows];
  Vec<T> sum[rows];
  for (int r = 0; r < rows; ++r) {
    v_row[r] = Vec<T>(v[first + r]);
    sum[r] = Vec<T>(T(0));
    for (int u = 0; u < count; ++u) {
      v_of_row[u][r] = Vec<T>(updates[u].v[first + r]);
      w_of_row[u][r] = Vec<T>(updates[u].w[first + r]);
    }
  }
  T* A = matrix.at(first);
  const auto process = [&](int c, [[maybe_unused]] const auto& left_of_diagonal) {
    const auto v_column = load(v + c);
    Vec<T> v_of_column[most];
    Vec<T> w_of_column[most];
    for (int u = 0; u < count; ++u) {
      v_of_column[u] = load(updates[u].v + c);
      w_of_column[u] = load(updates[u].w + c);
    }
    auto product = load(products + c);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      T* at = A + r * matrix.row + c;
      auto x = load(at);
#pragma GCC unroll 2
      for (int u = 0; u < count; ++u) {
        x = fnma(w_of_row[u][r], v_of_column[u], fnma(v_of_row[u][r], w_of_column[u], x));
      }
      if constexpr (count > 0) {
        x = left_of_diagonal(r, x);
        store(at, x);
      }
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

/// Parts of a triangle of `size` rows that have nearly equally many entries.
struct TriangleDivision {
  int size;
  int parts;

  /// The first row of a part; whole registers of columns end there.
  template <typename T>
  int first_row(int part) const {
    constexpr int W = lane_count<T>;
    return part == parts ? size : static_cast<int>(size * std::sqrt(static_cast<double>(part) / parts)) / W * W;
  }
};

/// Applies `count` updates to the rows above row `i`, and computes A v.
template <typename T, int count>
SPECTRALGRAD_INLINE void update_and_multiply_all(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const Update<T>* updates,
    int i,
    const Tasks& tasks) {
  constexpr int W = lane_count<T>;
  // AVX2 has registers for the vectors of two rows.
  constexpr int rows = W * sizeof(T) == 64 ? 4 : 2;
  const T* v = matrix.at(i);
  const TriangleDivision division{i, task_count(i)};
  // The leader, which begins with task 0, has the last rows, because it reflects the last one next.
  tasks(division.parts, [&](int task) {
    const int part = division.parts - 1 - task;
    T* products = vectors.product + static_cast<int64_t>(part) * matrix.row;
    const int begin = division.template first_row<T>(part);
    const int end = division.template first_row<T>(part + 1);
    for (int c = 0; c < end; c += W) {
      store(products + c, Vec<T>(T(0)));
    }
    int first = begin;
    for (; first + rows <= end; first += rows) {
      update_and_multiply<T, rows, count>(matrix, vectors, updates, v, first, products);
    }
    for (; first < end; ++first) {
      update_and_multiply<T, 1, count>(matrix, vectors, updates, v, first, products);
    }
    sum_rows(vectors, begin, end);
  });
}

/// Applies `count` updates to row `i`, and the last one to the diagonal up to it.
template <typename T>
SPECTRALGRAD_INLINE void update_row(const SymmetricMatrix<T>& matrix, const Update<T>* updates, int count, int i) {
  const auto& last = updates[count - 1];
  T* row = matrix.at(i);
  for (int c = 0; c <= i; c += lane_count<T>) {
    const auto product = load(last.v + c) * load(last.w + c);
    const auto change = product + product;
    const auto high = load(matrix.diagonal + c);
    const auto sum = high - change;
    // Two-sum: D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    const auto taken = high - sum;
    const auto rest = (high - (sum + taken)) - (change - taken);
    store(matrix.diagonal + c, sum);
    store(matrix.diagonal_low + c, load(matrix.diagonal_low + c) + rest);
    auto updated = load(row + c);
    for (int u = 0; u < count; ++u) {
      const auto& [v, w] = updates[u];
      updated = fnma(Vec<T>(w[i]), load(v + c), fnma(Vec<T>(v[i]), load(w + c), updated));
    }
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
/// reflection of row `i`. If `lacks_update`, the entries off the diagonal lack the update `missing`.
template <typename T, bool lacks_update>
SPECTRALGRAD_INLINE void finish_update(
    const SymmetricMatrix<T>& matrix,
    const ReductionVectors<T>& vectors,
    const Update<T>& missing,
    int i,
    T* w) {
  constexpr int W = lane_count<T>;
  const T* v = matrix.at(i);
  Vec<T> dot_v(T(0));
  Vec<T> dot_w(T(0));
  for (int c = 0; lacks_update && c < i; c += W) {
    const auto v_column = load(v + c);
    dot_v = fma(load(missing.v + c), v_column, dot_v);
    dot_w = fma(load(missing.w + c), v_column, dot_w);
  }
  const Vec<T> v_v(sum_of_lanes<T>(dot_v));
  const Vec<T> w_v(sum_of_lanes<T>(dot_w));
  const Vec<T> factor(matrix.factors[i]);
  Vec<T> dot(T(0));
  const TriangleDivision division{i, task_count(i)};
  // The columns of the first parts end early.
  int c = 0;
  for (int part = 0; part < division.parts; ++part) {
    for (const int end = division.template first_row<T>(part + 1); c < end; c += W) {
      const auto v_column = load(v + c);
      auto sum = load(vectors.product + static_cast<int64_t>(part) * matrix.row + c);
      for (int other = part + 1; other < division.parts; ++other) {
        sum = sum + load(vectors.product + static_cast<int64_t>(other) * matrix.row + c);
      }
      auto diagonal = load(matrix.diagonal + c);
      if constexpr (lacks_update) {
        const auto missing_v = load(missing.v + c);
        const auto missing_w = load(missing.w + c);
        const auto missing_product = missing_v * missing_w;
        diagonal = diagonal + (missing_product + missing_product);
        sum = sum + fma(diagonal, v_column, load(vectors.row_products + c));
        sum = fnma(missing_v, w_v, fnma(missing_w, v_v, sum));
      } else {
        sum = sum + fma(diagonal, v_column, load(vectors.row_products + c));
      }
      const auto product = factor * sum;
      store(w + c, product);
      dot = fma(product, v_column, dot);
    }
  }
  const Vec<T> half(T(0.5) * matrix.factors[i] * sum_of_lanes<T>(dot));
  const Vec<T> size((T(i)));
  for (c = 0; c < matrix.row; c += W) {
    const auto inside = Vec<T>::arange(T(c), T(1)) < size;
    store(w + c, c < i ? where(inside, fnma(half, load(v + c), load(w + c))) : Vec<T>(T(0)));
  }
}

/// Reduces the matrix to tridiagonal form, A = Q T Q^T with Q = H_(n-1) ... H_1. Writes the diagonal of T to `d` (n)
/// and the off-diagonal to `e` (n - 1). `matrix` keeps the reflections.
template <typename T>
void reduce(const SymmetricMatrix<T>& matrix, const ReductionVectors<T>& vectors, T* d, T* e, const Tasks& tasks) {
  constexpr int W = lane_count<T>;
  const Vec<T> zero(T(0));
  for (int c = 0; c < matrix.row; c += W) {
    store(vectors.w[0] + c, zero);
    store(vectors.zeros + c, zero);
    store(matrix.diagonal_low + c, zero);
  }
  const Update<T> none{vectors.zeros, vectors.w[0]};
  Update<T> updates[2] = {none, none};
  int count = 1;
  for (int i = matrix.n - 1; i >= 0; --i) {
    update_row(matrix, updates, count, i);
    d[i] = matrix.diagonal[i] + matrix.diagonal_low[i];
    if (i == 0) {
      break;
    }
    e[i - 1] = reflect_row(matrix, i);
    if (count == 2) {
      update_and_multiply_all<T, 2>(matrix, vectors, updates, i, tasks);
      updates[0] = {matrix.at(i), vectors.w[0]};
      finish_update<T, false>(matrix, vectors, {}, i, vectors.w[0]);
      count = 1;
    } else {
      update_and_multiply_all<T, 0>(matrix, vectors, updates, i, tasks);
      updates[1] = {matrix.at(i), vectors.w[1]};
      finish_update<T, true>(matrix, vectors, updates[0], i, vectors.w[1]);
      count = 2;
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
