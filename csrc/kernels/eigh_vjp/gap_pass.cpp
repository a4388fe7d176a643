#include "kernels/eigh_vjp/gap_pass.h"

#include "kernels/eigh_vjp/tile_pairs.h"
#include "kernels/simd/arithmetic.h"
#include "math/pairs/clusters.h"

#include <type_traits>

// Compiled once for each instruction set. Implements the formulas of math/pairs.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// Computes F o S, several columns of one row at a time.
template <typename T>
class Divide {
 public:
  explicit Divide(const GapPass<T>& pass)
      : headroom_(math::headroom<A>(Vec<T>(pass.largest))),
        unit_(Vec<T>(pass.largest) * headroom_, headroom_, pass.rule.absolute_width),
        inverse_(pass.rule, unit_, tolerances::negligible<T>),
        over_scale_(unit_.size),
        gate_(pass.gate.template to<Vec<T>>()),
        reach_(Vec<T>(pass.gate.reach * pass.largest) * headroom_),
        pass_(pass) {}

  /// Returns F_ij S_ij for row i and `count` columns from `column` on, given W_ij (`upper`) and conj(W_ji) (`lower`). A
  /// row without a diagonal entry is passed as -1 - i.
  template <typename E>
  SPECTRALGRAD_INLINE E operator()(int64_t i, int64_t column, int count, const E& upper, const E& lower) const {
    auto S = scale(subtract_scaled(lower, Vec<T>(T(1)), upper), Vec<T>(T(0.5)));
    const auto gap = math::denominator(
        math::Denominator::difference,
        eigenvalue_of_row_,
        load_along<T, false>(pass_.eigenvalues + column, count) * headroom_);
    if (pass_.norms != nullptr) {
      constexpr bool is_complex = !std::is_same_v<E, Vec<T>>;
      const auto size = size_bounds<T, is_complex>(S);
      const auto norms = norm_of_row_ + load_along<T, false>(pass_.norms + column, count);
      const auto N = magnitude_bounds<T, is_complex>(upper, lower, norms);
      Mask<T> inside(T(0));
      if (pass_.clusters != nullptr) {
        const auto clusters = load_along<T, false>(pass_.clusters + column, count);
        inside = math::in_one_cluster<A>(clusters, cluster_of_row_, gap, reach_);
      }
      const auto ask_later = [&](bool inside_cluster) {
        return [&, inside_cluster](const Mask<T>& undecided) {
          ask(i, column, count, size_of(S), undecided, inside_cluster);
          return Mask<T>(T(0)); // none
        };
      };
      auto dropped = gate_.template is_dropped_outside<A>(size, N, negation<T>(inside), ask_later(false));
      if (any<T>(inside)) {
        const Vec<T> floor(pass_.floor);
        dropped = dropped | gate_.template is_dropped_in_cluster<A>(size, N, floor, inside, ask_later(true));
      }
      S = where_entry(negation<T>(dropped), S);
    }
    const auto F = inverse_(over_scale_(gap));
    return scale(over_scale_(scale(S, F)), headroom_);
  }

  /// Sets the row of the next calls. `norm` is zero for a row that has no column.
  SPECTRALGRAD_INLINE void set_row(T eigenvalue, T norm, const T* clusters, int64_t i) {
    eigenvalue_of_row_ = Vec<T>(eigenvalue) * headroom_;
    norm_of_row_ = Vec<T>(norm);
    cluster_of_row_ = Vec<T>(clusters == nullptr ? T(0) : clusters[i]);
  }

 private:
  using A = VectorArithmetic<T>;

  __attribute__((noinline)) void ask(
      int64_t i,
      int64_t column,
      int count,
      const Vec<T>& size,
      const Mask<T>& undecided,
      bool inside_cluster) const {
    T sizes[lane_count<T>];
    store(sizes, size);
    const int unset = undecided.zero_mask();
    for (int lane = 0; lane < count; ++lane) {
      // The diagonal of S is not used.
      if ((unset >> lane & 1) == 0 && column + lane != i) {
        pass_.undecided(pass_.context, i < 0 ? -1 - i : i, column + lane, sizes[lane], inside_cluster);
      }
    }
  }

  Vec<T> headroom_;
  math::DenominatorUnit<A> unit_;
  math::BroadenedInverse<A> inverse_;
  OverScale<T> over_scale_;
  math::NoiseGate<Vec<T>> gate_;
  Vec<T> reach_;
  Vec<T> eigenvalue_of_row_{T(0)};
  Vec<T> norm_of_row_{T(0)};
  Vec<T> cluster_of_row_{T(0)};
  const GapPass<T>& pass_;
};

/// Returns `x` with `value` in one lane.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> put(const Vec<T>& x, int lane, T value) {
  T numbers[lane_count<T>];
  store(numbers, x);
  numbers[lane] = value;
  return load<T>(numbers);
}

template <typename T, bool is_complex>
void divide_of(const GapPass<T>& pass, const BlockPair& blocks) {
  Divide<T> divide(pass);
  for_tile_pairs<T, is_complex, false>(
      pass.W,
      pass.n,
      blocks,
      [&](int64_t i, int64_t column, int count, const Entry<T, is_complex>& upper, const Entry<T, is_complex>& lower) {
        divide.set_row(pass.eigenvalues[i], pass.norms == nullptr ? T(0) : pass.norms[i], pass.clusters, i);
        auto divided = divide(i, column, count, upper, lower);
        if (i >= column && i < column + count) {
          const auto at = static_cast<int>(i - column);
          const T cotangent = pass.eigenvalues_cotangent == nullptr ? T(0) : pass.eigenvalues_cotangent[i];
          if constexpr (is_complex) {
            divided = {put<T>(divided.re, at, cotangent), put<T>(divided.im, at, T(0))};
          } else {
            divided = put<T>(divided, at, cotangent);
          }
        }
        return divided;
      });
}

template <typename T>
void divide(const GapPass<T>& pass, const BlockPair& blocks) {
  pass.is_complex ? divide_of<T, true>(pass, blocks) : divide_of<T, false>(pass, blocks);
}

template <typename T, bool is_complex>
void divide_rows_of(
    const GapPass<T>& pass,
    const T* eigenvalues_of_rows,
    const T* clusters_of_rows,
    const bool* has_column,
    int64_t begin,
    int64_t end) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  Divide<T> divide(pass);
  const Vec<T> two(T(2));
  for (auto i = begin; i < end; ++i) {
    if (has_column[i]) {
      continue;
    }
    divide.set_row(eigenvalues_of_rows[i], T(0), clusters_of_rows, i);
    for (int64_t column = 0; column < pass.n; column += L) {
      const int count = static_cast<int>(pass.n - column < L ? pass.n - column : L);
      T* entries = pass.W + (i * pass.n + column) * parts;
      const auto W = load_along<T, is_complex>(entries, count);
      // This row has no column of its own, hence no diagonal entry and no entries across the diagonal.
      const auto divided = divide(-1 - i, column, count, W, zero_entry<T, is_complex>());
      store_along<T>(entries, scale(divided, two), count);
    }
  }
}

template <typename T>
void divide_rows(
    const GapPass<T>& pass,
    const T* eigenvalues_of_rows,
    const T* clusters_of_rows,
    const bool* has_column,
    int64_t begin,
    int64_t end) {
  pass.is_complex ? divide_rows_of<T, true>(pass, eigenvalues_of_rows, clusters_of_rows, has_column, begin, end)
                  : divide_rows_of<T, false>(pass, eigenvalues_of_rows, clusters_of_rows, has_column, begin, end);
}

/// `column_sums` for `panel` registers of adjacent columns, from `column` on, of a row-major matrix.
template <typename T, bool is_complex, int panel>
SPECTRALGRAD_INLINE void column_sums_of_panel(
    const Matrices<T>& X,
    int64_t column,
    int count,
    int64_t begin,
    int64_t end,
    T* sums,
    T* largest) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  Vec<T> sum[panel];
  Vec<T> most[panel];
  for (int i = 0; i < panel; ++i) {
    sum[i] = most[i] = Vec<T>(T(0));
  }
  for (auto row = begin; row < end; ++row) {
    const T* entries = X.data + (row * X.down + column) * parts;
    for (int i = 0; i < panel; ++i) {
      const auto size = abs_lower_bound(load_along<T, is_complex>(entries + i * L * parts, count));
      sum[i] = sum[i] + size;
      most[i] = larger(most[i], size);
    }
  }
  for (int i = 0; i < panel; ++i) {
    store_along<T>(sums + column + i * L, sum[i], count);
    store_along<T>(largest + column + i * L, most[i], count);
  }
}

template <typename T, bool is_complex>
void column_sums_of(const Matrices<T>& X, int64_t n, int64_t begin, int64_t end, T* sums, T* largest) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  const auto count_from = [](int64_t at, int64_t all) {
    return static_cast<int>(all - at < L ? all - at : L);
  };
  if (X.right == 1) {
    constexpr int panel = 8;
    int64_t column = 0;
    for (; column + panel * L <= n; column += panel * L) {
      column_sums_of_panel<T, is_complex, panel>(X, column, L, begin, end, sums, largest);
    }
    for (; column < n; column += L) {
      column_sums_of_panel<T, is_complex, 1>(X, column, count_from(column, n), begin, end, sums, largest);
    }
    return;
  }
  for (int64_t column = 0; column < n; ++column) {
    Vec<T> sum(T(0));
    Vec<T> most(T(0));
    for (auto row = begin; row < end; row += L) {
      const auto size = abs_lower_bound(
          load_along<T, is_complex>(X.data + (column * X.right + row) * parts, count_from(row, end)));
      sum = sum + size;
      most = larger(most, size);
    }
    T each_sum[L];
    T each[L];
    store(each_sum, sum);
    store(each, most);
    for (int lane = 1; lane < L; ++lane) {
      each_sum[0] += each_sum[lane];
      each[0] = each[0] < each[lane] ? each[lane] : each[0];
    }
    sums[column] = each_sum[0];
    largest[column] = each[0];
  }
}

template <typename T>
void column_sums(const Matrices<T>& X, int64_t n, bool is_complex, int64_t begin, int64_t end, T* sums, T* largest) {
  is_complex ? column_sums_of<T, true>(X, n, begin, end, sums, largest)
             : column_sums_of<T, false>(X, n, begin, end, sums, largest);
}

template <typename T>
void norm_bounds(const T* sums, const T* largest, int64_t parts, int64_t n, bool is_complex, T* norms) {
  constexpr int L = lane_count<T>;
  // `abs_lower_bound` may be too small by this factor.
  const Vec<T> root(is_complex ? abs_lower_bound_factor<T, true> : abs_lower_bound_factor<T, false>);
  for (int64_t column = 0; column < n; column += L) {
    const int count = static_cast<int>(n - column < L ? n - column : L);
    Vec<T> sum(T(0));
    Vec<T> most(T(0));
    for (int64_t part = 0; part < parts; ++part) {
      sum = sum + load_along<T, false>(sums + part * n + column, count);
      most = larger(most, load_along<T, false>(largest + part * n + column, count));
    }
    // Hoelder's inequality, |x|_2^2 <= |x|_1 |x|_inf: no squares, which may overflow.
    store_along<T>(norms + column, root * sum.sqrt() * most.sqrt(), count);
  }
}

template <typename T>
T absolute(T x) {
  return x < 0 ? -x : x;
}

/// Avoids squares of the arguments, which may overflow.
template <typename T>
T modulus(T re, T im) {
  const T a = absolute(re);
  const T b = absolute(im);
  const T large = a < b ? b : a;
  const T ratio = (a < b ? a : b) / large;
  return large == 0 ? T(0) : large * static_cast<T>(__builtin_sqrt(1 + ratio * ratio));
}

template <typename T, bool is_complex>
void column_sizes_of(
    const Matrices<T>& X,
    const int64_t* columns,
    int64_t count,
    T* const* sizes,
    int64_t begin,
    int64_t end) {
  constexpr int parts = is_complex ? 2 : 1;
  // With a large stride, the entries of one column compete for a few cache sets. So all columns are read 16 rows at a
  // time.
  const int64_t rows_at_once = X.down == 1 ? end - begin : 16;
  for (auto first = begin; first < end; first += rows_at_once) {
    const auto rows = first + rows_at_once < end ? rows_at_once : end - first;
    for (int64_t c = 0; c < count; ++c) {
      const T* from = X.data + (first * X.down + columns[c] * X.right) * parts;
      T* const to = sizes[c] + first;
      for (int64_t i = 0; i < rows; ++i) {
        const T* z = from + i * X.down * parts;
        to[i] = is_complex ? modulus(z[0], z[1]) : absolute(z[0]);
      }
    }
  }
}

template <typename T>
void column_sizes(
    const Matrices<T>& X,
    bool is_complex,
    const int64_t* columns,
    int64_t count,
    T* const* sizes,
    int64_t begin,
    int64_t end) {
  is_complex ? column_sizes_of<T, true>(X, columns, count, sizes, begin, end)
             : column_sizes_of<T, false>(X, columns, count, sizes, begin, end);
}

template <typename T>
T two_products(const T* a, const T* b, const T* c, const T* d, int64_t n) {
  constexpr int L = lane_count<T>;
  Vec<T> sum(T(0));
  for (int64_t k = 0; k < n; k += L) {
    const int count = static_cast<int>(n - k < L ? n - k : L);
    const auto at = [&](const T* x) {
      return load_along<T, false>(x + k, count);
    };
    sum = fma(at(a), at(b), sum);
    sum = fma(at(c), at(d), sum);
  }
  T sums[L];
  store(sums, sum);
  for (int half = L / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) {
      sums[lane] += sums[lane + half];
    }
  }
  return sums[0];
}

template <typename T, bool is_complex, bool from_upper>
void make_hermitian_of(T* X, int64_t n, const BlockPair& blocks) {
  using E = Entry<T, is_complex>;
  const Vec<T> half(T(0.5));
  for_tile_pairs<T, is_complex, from_upper>(X, n, blocks, [&](int64_t, int64_t, int, const E& upper, const E& lower) {
    return scale(add_scaled(lower, Vec<T>(T(1)), upper), half);
  });
}

template <typename T>
void make_hermitian(T* X, int64_t n, bool is_complex, bool from_upper, const BlockPair& blocks) {
  if (is_complex) {
    from_upper ? make_hermitian_of<T, true, true>(X, n, blocks) : make_hermitian_of<T, true, false>(X, n, blocks);
  } else {
    from_upper ? make_hermitian_of<T, false, true>(X, n, blocks) : make_hermitian_of<T, false, false>(X, n, blocks);
  }
}

template <typename T>
constexpr GapPassKernel<T> kernel{
    divide<T>,
    divide_rows<T>,
    column_sums<T>,
    norm_bounds<T>,
    column_sizes<T>,
    two_products<T>,
    make_hermitian<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(GapPassKernel)

} // namespace spectralgrad::kernels::simd
