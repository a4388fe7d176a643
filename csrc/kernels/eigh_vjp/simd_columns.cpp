#include "kernels/eigh_vjp/simd_columns.h"

#include "kernels/simd/along_rows.h"
#include "kernels/simd/arithmetic.h"

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <bool is_complex>
inline constexpr int parts = is_complex ? 2 : 1;

/// `sums` for `panel` registers of adjacent columns, from `column` on, of a row-major matrix.
template <typename T, bool is_complex, int panel>
SPECTRALGRAD_INLINE void sums_of_panel(
    const Matrices<T>& X,
    int64_t column,
    int count,
    int64_t begin,
    int64_t end,
    T* sums,
    T* largest) {
  constexpr int L = lane_count<T>;
  Vec<T> sum[panel];
  Vec<T> most[panel];
  for (int i = 0; i < panel; ++i) {
    sum[i] = most[i] = Vec<T>(T(0));
  }
  for (auto row = begin; row < end; ++row) {
    const T* entries = X.data + (row * X.down + column) * parts<is_complex>;
    for (int i = 0; i < panel; ++i) {
      const auto size = abs_lower_bound(load_along<T, is_complex>(entries + i * L * parts<is_complex>, count));
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
void sums_of_rows(const Matrices<T>& X, int64_t n, int64_t begin, int64_t end, T* sums, T* largest) {
  constexpr int panel = 8;
  constexpr int width = panel * lane_count<T>;
  int64_t column = 0;
  for (; column + width <= n; column += width) {
    sums_of_panel<T, is_complex, panel>(X, column, lane_count<T>, begin, end, sums, largest);
  }
  for_each_vector<T>(column, n, [&](int64_t from, int count) {
    sums_of_panel<T, is_complex, 1>(X, from, count, begin, end, sums, largest);
  });
}

template <typename T, bool is_complex>
void sums_of_columns(const Matrices<T>& X, int64_t n, int64_t begin, int64_t end, T* sums, T* largest) {
  constexpr int L = lane_count<T>;
  for (int64_t column = 0; column < n; ++column) {
    Vec<T> sum(T(0));
    Vec<T> most(T(0));
    for_each_vector<T>(begin, end, [&](int64_t row, int count) {
      const T* entries = X.data + (column * X.right + row) * parts<is_complex>;
      const auto size = abs_lower_bound(load_along<T, is_complex>(entries, count));
      sum = sum + size;
      most = larger(most, size);
    });
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
void sums(const Matrices<T>& X, int64_t n, bool complex, int64_t begin, int64_t end, T* sums, T* largest) {
  with_constant(complex, [&](auto is_complex) {
    X.right == 1 ? sums_of_rows<T, is_complex>(X, n, begin, end, sums, largest)
                 : sums_of_columns<T, is_complex>(X, n, begin, end, sums, largest);
  });
}

template <typename T>
void norm_bounds(const T* sums, const T* largest, int64_t ranges, int64_t n, bool is_complex, T* norms) {
  // `abs_lower_bound` may be too small by this factor.
  const Vec<T> root(is_complex ? abs_lower_bound_factor<T, true> : abs_lower_bound_factor<T, false>);
  for_each_vector<T>(0, n, [&](int64_t column, int count) {
    Vec<T> sum(T(0));
    Vec<T> most(T(0));
    for (int64_t range = 0; range < ranges; ++range) {
      sum = sum + load_along<T, false>(sums + range * n + column, count);
      most = larger(most, load_along<T, false>(largest + range * n + column, count));
    }
    // Hoelder's inequality, |x|_2^2 <= |x|_1 |x|_inf: no squares, which may overflow.
    store_along<T>(norms + column, root * sum.sqrt() * most.sqrt(), count);
  });
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

template <typename T>
void sizes(
    const Matrices<T>& X,
    bool complex,
    const int64_t* columns,
    int64_t count,
    T* const* sizes,
    int64_t begin,
    int64_t end) {
  // With a large stride, the entries of one column compete for a few cache sets. So all columns are read 16 rows at a
  // time.
  const int64_t rows_at_once = X.down == 1 ? end - begin : 16;
  with_constant(complex, [&](auto is_complex) {
    for (auto first = begin; first < end; first += rows_at_once) {
      const auto rows = first + rows_at_once < end ? rows_at_once : end - first;
      for (int64_t c = 0; c < count; ++c) {
        const T* from = X.data + (first * X.down + columns[c] * X.right) * parts<is_complex>;
        T* const to = sizes[c] + first;
        for (int64_t i = 0; i < rows; ++i) {
          const T* z = from + i * X.down * parts<is_complex>;
          to[i] = is_complex ? modulus(z[0], z[1]) : absolute(z[0]);
        }
      }
    }
  });
}

template <typename T>
T two_products(const T* a, const T* b, const T* c, const T* d, int64_t n) {
  constexpr int L = lane_count<T>;
  Vec<T> sum(T(0));
  for_each_vector<T>(0, n, [&](int64_t k, int count) {
    const auto at = [&](const T* x) {
      return load_along<T, false>(x + k, count);
    };
    sum = fma(at(a), at(b), sum);
    sum = fma(at(c), at(d), sum);
  });
  T sums[L];
  store(sums, sum);
  for (int half = L / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) {
      sums[lane] += sums[lane + half];
    }
  }
  return sums[0];
}

template <typename T>
constexpr ColumnKernel<T> kernel{sums<T>, norm_bounds<T>, sizes<T>, two_products<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(ColumnKernel)

} // namespace spectralgrad::kernels::simd
