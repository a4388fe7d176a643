#include "kernels/lanes/gap_pass.h"

#include "kernels/lanes/arithmetic.h"
#include "kernels/lanes/tile_pairs.h"

// Compiled once for each instruction set. The formulas are those of derivatives/gaps.h.
namespace spectralgrad::kernels::lanes {
inline namespace CPU_CAPABILITY {
namespace {

/// N_ij by itself.
template <typename T, bool is_complex>
T magnitude(const GapPass<T>& pass, int64_t i, int64_t j) {
  constexpr int parts = is_complex ? 2 : 1;
  const auto size = [](const Matrices<T>& X, int64_t k, int64_t column) {
    const T* z = X.data + (k * X.down + column * X.right) * parts;
    return is_complex ? __builtin_sqrt(z[0] * z[0] + z[parts - 1] * z[parts - 1]) : (z[0] < 0 ? -z[0] : z[0]);
  };
  T sum = 0;
  for (int64_t k = 0; k < pass.n; ++k) {
    sum += static_cast<T>(size(pass.V, k, i) * size(pass.gV, k, j) + size(pass.V, k, j) * size(pass.gV, k, i));
  }
  return sum;
}

/// Which of the entries that are `asked` for, (i, j) for some j from `column` on, are no larger than noise N_ij. `few`: how many may
/// still be looked at one by one.
template <typename T, bool is_complex>
Mask<T> noise_covers(
    const GapPass<T>& pass,
    int64_t i,
    int64_t column,
    int count,
    const Vec<T>& size,
    const Mask<T>& asked,
    int64_t& few) {
  constexpr int W = lane_count<T>;
  const Vec<T> noise(pass.noise);
  Vec<T> sum(T(0));
  if (few > 0) {
    T sums[W] = {};
    const int unset = asked.zero_mask();
    for (int lane = 0; lane < count; ++lane) {
      if ((unset >> lane & 1) == 0) {
        sums[lane] = magnitude<T, is_complex>(pass, i, column + lane);
        --few;
      }
    }
    sum = load<T>(sums);
  } else {
    const auto sizes = pass.sizes(pass.context);
    const auto along = [&](const T* x) {
      return load_along<T, false>(x, count);
    };
    // Until it is enough: most of what is asked for is rounding.
    constexpr int64_t rows_at_once = 16;
    for (int64_t k = 0; k < pass.n; k += rows_at_once) {
      for (auto r = k; r < pass.n && r < k + rows_at_once; ++r) {
        const auto row = r * pass.n;
        sum = fma(Vec<T>(sizes.V[row + i]), along(sizes.gV + row + column), sum);
        sum = fma(Vec<T>(sizes.gV[row + i]), along(sizes.V + row + column), sum);
      }
      if (!any<T>(asked & (noise * sum < size))) {
        break;
      }
    }
  }
  return asked & (size <= noise * sum);
}

template <typename T, bool is_complex>
void divide_of(const GapPass<T>& pass, int64_t begin, int64_t end) {
  const Vec<T> zero(T(0));
  const Vec<T> half(T(0.5));
  const auto n = pass.n;
  const auto first = pass.eigenvalues[0];
  const auto last = pass.eigenvalues[n - 1];
  const Vec<T> largest(-first > last ? -first : (first > last ? first : last));
  const derivatives::InverseGap<Arithmetic<T>> inverse_gap(pass.rule, largest.abs(), tolerances::negligible<T>);
  const Vec<T> noise(pass.noise);
  const bool gates = pass.norms != nullptr;
  int64_t few = n / 16;
  for_tile_pairs<T, is_complex>(
      pass.W,
      n,
      begin,
      end,
      [&](int64_t i, int64_t column, int count, const Entry<T, is_complex>& upper, const Entry<T, is_complex>& lower) {
        auto S = scale(subtract_scaled(lower, Vec<T>(T(1)), upper), half);
        if (gates) {
          const auto most = Vec<T>(pass.norms[i]) + load_along<T, false>(pass.norms + column, count);
          const auto dropped = is_rounding<T, is_complex>(S, upper, lower, noise, most, [&](const Mask<T>& asked) {
            return noise_covers<T, is_complex>(pass, i, column, count, size_of(S), asked, few);
          });
          S = where_entry(negation<T>(dropped), S);
        }
        const auto gap = load_along<T, false>(pass.eigenvalues + column, count) - Vec<T>(pass.eigenvalues[i]);
        const auto F = inverse_gap(gap / inverse_gap.scale);
        auto divided = scale(S, F);
        if constexpr (is_complex) {
          divided = {divided.re / inverse_gap.scale, divided.im / inverse_gap.scale};
        } else {
          divided = divided / inverse_gap.scale;
        }
        if (i >= column && i < column + count) {
          constexpr int W = lane_count<T>;
          T numbers[W];
          const auto at = static_cast<int>(i - column);
          const auto put = [&](const Vec<T>& x, T value) {
            store(numbers, x);
            numbers[at] = value;
            return load<T>(numbers);
          };
          const T cotangent = pass.eigenvalues_cotangent == nullptr ? T(0) : pass.eigenvalues_cotangent[i];
          if constexpr (is_complex) {
            divided = {put(divided.re, cotangent), put(divided.im, T(0))};
          } else {
            divided = put(divided, cotangent);
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
void norm_bounds_of(const T* W, int64_t n, T* norms) {
  constexpr int L = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  // What `low_size` may lack.
  const Vec<T> root(is_complex ? T(1.4143) : T(1));
  for (int64_t column = 0; column < n; column += L) {
    const int count = static_cast<int>(n - column < L ? n - column : L);
    Vec<T> sum(T(0));
    Vec<T> largest(T(0));
    for (int64_t row = 0; row < n; ++row) {
      const auto size = low_size(load_along<T, is_complex>(W + (row * n + column) * parts, count));
      sum = sum + size;
      largest = larger(largest, size);
    }
    // Hoelder's inequality, without squares that may overflow.
    store_along<T>(norms + column, root * sum.sqrt() * largest.sqrt(), count);
  }
}

template <typename T>
void norm_bounds(const T* W, int64_t n, bool is_complex, T* norms) {
  is_complex ? norm_bounds_of<T, true>(W, n, norms) : norm_bounds_of<T, false>(W, n, norms);
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
constexpr GapPassKernel<T> kernel{lane_count<T>, divide<T>, norm_bounds<T>, make_hermitian<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(GapPassKernel)

} // namespace spectralgrad::kernels::lanes
