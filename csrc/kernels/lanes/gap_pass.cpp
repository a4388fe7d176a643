#include "kernels/lanes/gap_pass.h"

#include "kernels/lanes/arithmetic.h"
#include "kernels/lanes/tile_pairs.h"

#include <type_traits>

// Compiled once for each instruction set. The formulas are those of derivatives/gaps.h.
namespace spectralgrad::kernels::lanes {
inline namespace CPU_CAPABILITY {
namespace {

/// F, and the units of what it is multiplied with.
template <typename T>
class Divide {
 public:
  explicit Divide(const GapPass<T>& pass)
      : pass_(pass), inverse_gap_(pass.rule, Vec<T>(pass.largest), tolerances::negligible<T>) {}

  /// F_ij S_ij of row i (-1 - i for one that has no diagonal), whose eigenvalue is `here`, and `count` columns from `column` on, of W_ij and conj(W_ji).
  template <typename E>
  SPECTRALGRAD_INLINE E
  operator()(int64_t i, const Vec<T>& here, int64_t column, int count, const E& upper, const E& lower) const {
    auto S = scale(subtract_scaled(lower, Vec<T>(T(1)), upper), Vec<T>(T(0.5)));
    if (pass_.norms != nullptr) {
      const auto most = norm_of_row_ + load_along<T, false>(pass_.norms + column, count);
      const auto dropped =
          is_rounding<T, is_complex_entry<E>>(S, upper, lower, Vec<T>(pass_.noise), most, [&](const Mask<T>& asked) {
            ask(i, column, count, size_of(S), asked);
            return Mask<T>(T(0)); // none
          });
      S = where_entry(negation<T>(dropped), S);
    }
    const auto gap = load_along<T, false>(pass_.eigenvalues + column, count) - here;
    const auto F = inverse_gap_(gap / inverse_gap_.scale);
    return over_scale(scale(S, F));
  }

  /// That of a row is zero unless it is said.
  SPECTRALGRAD_INLINE void set_norm_of_row(int64_t i) {
    norm_of_row_ = Vec<T>(pass_.norms == nullptr ? T(0) : pass_.norms[i]);
  }

 private:
  template <typename E>
  static constexpr bool is_complex_entry = !std::is_same_v<E, Vec<T>>;

  SPECTRALGRAD_INLINE Vec<T> over_scale(const Vec<T>& x) const {
    return x / inverse_gap_.scale;
  }
  SPECTRALGRAD_INLINE Complex<T> over_scale(const Complex<T>& z) const {
    return {over_scale(z.re), over_scale(z.im)};
  }

  __attribute__((noinline)) void ask(int64_t i, int64_t column, int count, const Vec<T>& size, const Mask<T>& asked)
      const {
    T sizes[lane_count<T>];
    store(sizes, size);
    const int unset = asked.zero_mask();
    for (int lane = 0; lane < count; ++lane) {
      // The diagonal of S is of no use to anyone.
      if ((unset >> lane & 1) == 0 && column + lane != i) {
        pass_.undecided(pass_.context, i < 0 ? -1 - i : i, column + lane, sizes[lane]);
      }
    }
  }

  const GapPass<T>& pass_;
  derivatives::InverseGap<Arithmetic<T>> inverse_gap_;
  Vec<T> norm_of_row_{T(0)};
};

/// `x` with `value` for one of its numbers.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> put(const Vec<T>& x, int lane, T value) {
  T numbers[lane_count<T>];
  store(numbers, x);
  numbers[lane] = value;
  return load<T>(numbers);
}

template <typename T, bool is_complex>
void divide_of(const GapPass<T>& pass, int64_t begin, int64_t end) {
  Divide<T> divide(pass);
  for_tile_pairs<T, is_complex>(
      pass.W,
      pass.n,
      begin,
      end,
      [&](int64_t i, int64_t column, int count, const Entry<T, is_complex>& upper, const Entry<T, is_complex>& lower) {
        divide.set_norm_of_row(i);
        auto divided = divide(i, Vec<T>(pass.eigenvalues[i]), column, count, upper, lower);
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
void divide(const GapPass<T>& pass, int64_t begin, int64_t end) {
  pass.is_complex ? divide_of<T, true>(pass, begin, end) : divide_of<T, false>(pass, begin, end);
}

template <typename T, bool is_complex>
void divide_rows_of(
    const GapPass<T>& pass,
    const T* eigenvalues_of_rows,
    const bool* has_column,
    int64_t begin,
    int64_t end) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  const Divide<T> divide(pass);
  const Vec<T> two(T(2));
  for (auto i = begin; i < end; ++i) {
    if (has_column[i]) {
      continue;
    }
    const Vec<T> here(eigenvalues_of_rows[i]);
    for (int64_t column = 0; column < pass.n; column += L) {
      const int count = static_cast<int>(pass.n - column < L ? pass.n - column : L);
      T* entries = pass.W + (i * pass.n + column) * parts;
      const auto W = load_along<T, is_complex>(entries, count);
      // The diagonal is elsewhere.
      const auto divided = divide(-1 - i, here, column, count, W, zero_entry<T, is_complex>());
      store_along<T>(entries, scale(divided, two), count);
    }
  }
}

template <typename T>
void divide_rows(
    const GapPass<T>& pass,
    const T* eigenvalues_of_rows,
    const bool* has_column,
    int64_t begin,
    int64_t end) {
  pass.is_complex ? divide_rows_of<T, true>(pass, eigenvalues_of_rows, has_column, begin, end)
                  : divide_rows_of<T, false>(pass, eigenvalues_of_rows, has_column, begin, end);
}

template <typename T, bool is_complex>
void norm_bounds_of(const Matrices<T>& X, int64_t n, int64_t begin, int64_t end, T* norms, T* memory) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  // What `low_size` may lack.
  const Vec<T> root(low_size_factor<T, is_complex>);
  const auto count_from = [](int64_t at, int64_t all) {
    return static_cast<int>(all - at < L ? all - at : L);
  };
  // Hoelder's inequality, without squares that may overflow.
  const auto bound = [&](const Vec<T>& sum, const Vec<T>& largest) {
    return root * sum.sqrt() * largest.sqrt();
  };
  const Vec<T> zero(T(0));
  if (X.right != 1) {
    for (auto column = begin; column < end; ++column) {
      auto sum = zero;
      auto largest = zero;
      for (int64_t row = 0; row < n; row += L) {
        const auto size = low_size(load_along<T, is_complex>(X.data + (column * n + row) * parts, count_from(row, n)));
        sum = sum + size;
        largest = larger(largest, size);
      }
      T sums[L];
      T each[L];
      store(sums, sum);
      store(each, largest);
      T total = sums[0];
      T most = each[0];
      for (int lane = 1; lane < L; ++lane) {
        total += sums[lane];
        most = most < each[lane] ? each[lane] : most;
      }
      bound(Vec<T>(total), Vec<T>(most)).store(norms + column, 1);
    }
    return;
  }
  constexpr int64_t rows_at_once = 8;
  for (int64_t first = 0; first < n; first += rows_at_once) {
    const auto last = first + rows_at_once < n ? first + rows_at_once : n;
    for (auto column = begin; column < end; column += L) {
      const int count = count_from(column, end);
      auto sum = first == 0 ? zero : load_along<T, false>(norms + column, count);
      auto largest = first == 0 ? zero : load_along<T, false>(memory + column, count);
      for (auto row = first; row < last; ++row) {
        const auto size = low_size(load_along<T, is_complex>(X.data + (row * n + column) * parts, count));
        sum = sum + size;
        largest = larger(largest, size);
      }
      store_along<T>(norms + column, sum, count);
      store_along<T>(memory + column, largest, count);
    }
  }
  for (auto column = begin; column < end; column += L) {
    const int count = count_from(column, end);
    const auto sum = load_along<T, false>(norms + column, count);
    store_along<T>(norms + column, bound(sum, load_along<T, false>(memory + column, count)), count);
  }
}

template <typename T>
void norm_bounds(const Matrices<T>& X, int64_t n, bool is_complex, int64_t begin, int64_t end, T* norms, T* memory) {
  is_complex ? norm_bounds_of<T, true>(X, n, begin, end, norms, memory)
             : norm_bounds_of<T, false>(X, n, begin, end, norms, memory);
}

template <typename T>
T absolute(T x) {
  return x < 0 ? -x : x;
}

/// Without squares that may overflow.
template <typename T>
T modulus(T re, T im) {
  const T a = absolute(re);
  const T b = absolute(im);
  const T large = a < b ? b : a;
  const T ratio = (a < b ? a : b) / large;
  return large == 0 ? T(0) : large * static_cast<T>(__builtin_sqrt(1 + ratio * ratio));
}

/// Row by row, so that whatever the order of the matrix both sides are read and written one after the other.
template <typename T>
void column_sizes(
    const Matrices<T>& X,
    bool is_complex,
    const int64_t* columns,
    int64_t count,
    T* const* sizes,
    int64_t begin,
    int64_t end) {
  constexpr int64_t rows_at_once = 64;
  for (auto first = begin; first < end; first += rows_at_once) {
    const auto last = first + rows_at_once < end ? first + rows_at_once : end;
    for (int64_t c = 0; c < count; ++c) {
      for (auto row = first; row < last; ++row) {
        const auto at = row * X.down + columns[c] * X.right;
        const T* z = X.data + (is_complex ? 2 * at : at);
        sizes[c][row] = is_complex ? modulus(z[0], z[1]) : absolute(z[0]);
      }
    }
  }
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
  T total = 0;
  for (const auto x : sums) {
    total += x;
  }
  return total;
}

template <typename T, bool is_complex>
void make_hermitian_of(T* X, int64_t n, bool from_lower, int64_t begin, int64_t end) {
  using E = Entry<T, is_complex>;
  const Vec<T> half(T(0.5));
  for_tile_pairs<T, is_complex>(X, n, begin, end, [&](int64_t i, int64_t column, int, const E& upper, const E& lower) {
    return from_lower && i / lane_count<T> != column / lane_count<T>
        ? lower
        : scale(add_scaled(lower, Vec<T>(T(1)), upper), half);
  });
}

template <typename T>
void make_hermitian(T* X, int64_t n, bool is_complex, bool from_lower, int64_t begin, int64_t end) {
  is_complex ? make_hermitian_of<T, true>(X, n, from_lower, begin, end)
             : make_hermitian_of<T, false>(X, n, from_lower, begin, end);
}

template <typename T>
constexpr GapPassKernel<T> kernel{
    lane_count<T>,
    divide<T>,
    divide_rows<T>,
    norm_bounds<T>,
    column_sizes<T>,
    two_products<T>,
    make_hermitian<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(GapPassKernel)

} // namespace spectralgrad::kernels::lanes
