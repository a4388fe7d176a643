#include "kernels/svd_vjp/by_products/pair_pass.h"

#include "kernels/eigh_vjp/gap_quotient.h"
#include "kernels/simd/along_rows.h"
#include "math/pairs/clusters.h"

#include <cmath>

// Compiled once for each instruction set. Implements the formulas of math/svd.h and math/pairs, with several columns of
// one row in the lanes.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex>
class PairDivision {
 public:
  using A = VectorArithmetic<T>;
  using E = Entry<T, is_complex>;

  /// `magnitude` is N, row-major, or null.
  PairDivision(const SingularPairPass<T>& pass, const T* magnitude)
      : pass_(pass),
        quotient_(Vec<T>(pass.values[0]), pass.rule, pass.gate),
        reach_(Vec<T>(pass.gate.reach) * quotient_.largest),
        magnitude_(magnitude) {}

  Vec<T> value(int64_t i) const {
    return Vec<T>(pass_.values[i]) * quotient_.headroom;
  }
  SPECTRALGRAD_INLINE Vec<T> values(int64_t column, int count) const {
    return load_along<T, false>(pass_.values + column, count) * quotient_.headroom;
  }
  /// Whether these columns are in the cluster with this number, if `distance` is their distance from it.
  SPECTRALGRAD_INLINE Mask<T> inside(T cluster, int64_t column, int count, const Vec<T>& distance) const {
    if (!pass_.gates || cluster < T(0)) {
      return Mask<T>(T(0));
    }
    return math::in_one_cluster<A>(
        load_along<T, false>(pass_.clusters + column, count),
        Vec<T>(cluster),
        distance,
        reach_);
  }

  /// S over the denominator, or zero where the noise gate drops it. N is between `least` and `most`. `at` is the index
  /// of the first entry in N.
  SPECTRALGRAD_INLINE E over(
      E S,
      const Vec<T>& denominator,
      const Vec<T>& least,
      const Vec<T>& most,
      const Mask<T>& inside,
      int64_t at,
      int count) {
    if (pass_.gates) {
      const auto decide = [&](const Mask<T>& undecided, bool is_inside) {
        if (magnitude_ == nullptr) {
          ask(undecided, at, count);
          return undecided;
        }
        const auto N = load_along<T, false>(magnitude_ + at, count);
        const auto size = size_of(S);
        return undecided &
            (is_inside ? quotient_.gate.template is_above_limit<A>(size, N)
                       : quotient_.gate.template is_dropped_outside<A>(size, N));
      };
      const auto bound = real_entry<T, is_complex>(least);
      S = quotient_.without_noise(S, bound, zero_entry<T, is_complex>(), most, inside, Vec<T>(pass_.floor), decide);
    }
    return quotient_.divide(S, denominator);
  }

  SPECTRALGRAD_INLINE E skew_part(const E& upper, const E& lower) const {
    return quotient_.skew_part(upper, lower);
  }
  /// Whether some entry was undecided.
  bool needs_magnitude() const {
    return needs_magnitude_;
  }

 private:
  __attribute__((noinline)) void ask(const Mask<T>& undecided, int64_t at, int count) {
    needs_magnitude_ = true;
    const int unset = undecided.zero_mask();
    for (int lane = 0; lane < count; ++lane) {
      if ((unset >> lane & 1) == 0) {
        pass_.undecided(pass_.context, at + lane);
      }
    }
  }

  const SingularPairPass<T>& pass_;
  GapQuotient<T> quotient_;
  Vec<T> reach_;
  const T* magnitude_;
  bool needs_magnitude_ = false;
};

/// The entries W_ij of a row, and conj(W_ji).
template <typename E>
struct Opposite {
  E upper;
  E lower;
};

template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Opposite<Entry<T, is_complex>> load_opposite(
    const InnerCotangent<T>& inner,
    int64_t at,
    int count) {
  if (inner.W == nullptr) {
    return {zero_entry<T, is_complex>(), zero_entry<T, is_complex>()};
  }
  constexpr int parts = is_complex ? 2 : 1;
  return {
      load_along<T, is_complex>(inner.W + at * parts, count),
      load_along<T, is_complex>(inner.adjoint + at * parts, count)};
}

template <typename T, bool is_complex>
bool divide_inner_of(
    const SingularPairPass<T>& pass,
    const InnerCotangent<T>& left,
    const InnerCotangent<T>& right,
    const T* magnitude,
    T* result) {
  using E = Entry<T, is_complex>;
  constexpr int parts = is_complex ? 2 : 1;
  const Vec<T> one(T(1));
  PairDivision<T, is_complex> division(pass, magnitude);
  for (int64_t i = 0; i < pass.n; ++i) {
    const auto here = division.value(i);
    const T cluster = pass.gates ? pass.clusters[i] : T(-1);
    const T mirror = pass.gates && cluster == pass.around_mirror ? cluster : T(-1);
    const Vec<T> norm(pass.gates ? pass.norms[i] : T(0));
    for_each_vector<T>(0, pass.n, [&](int64_t column, int count) {
      const auto at = i * pass.n + column;
      const auto L = load_opposite<T, is_complex>(left, at, count);
      const auto R = load_opposite<T, is_complex>(right, at, count);
      const auto there = division.values(column, count);
      const auto gap = math::denominator(math::Denominator::difference, here, there);
      const auto sum = math::denominator(math::Denominator::sum, here, there);
      // N is the sum of the magnitudes of both sides.
      const auto least = abs_lower_bound(L.upper) + abs_lower_bound(L.lower) + abs_lower_bound(R.upper) +
          abs_lower_bound(R.lower);
      const auto most = pass.gates ? norm + load_along<T, false>(pass.norms + column, count) : norm;
      const auto S_left = division.skew_part(L.upper, L.lower);
      const auto S_right = division.skew_part(R.upper, R.lower);
      auto S_together = add_scaled(S_right, one, S_left);
      const bool has_diagonal = i >= column && i < column + count;
      const auto diagonal = static_cast<int>(i - column);
      if (has_diagonal) {
        // The difference of a value to itself is no gap.
        S_together = put<T>(S_together, diagonal, T(0));
      }
      const auto in_cluster = division.inside(cluster, column, count, gap);
      const auto in_mirror = division.inside(mirror, column, count, sum);
      auto together = division.over(S_together, gap, least, most, in_cluster, at, count);
      const E S_against = subtract_scaled(S_right, one, S_left);
      const auto against = division.over(S_against, sum, least, most, in_mirror, at, count);
      if (has_diagonal) {
        together = put<T>(together, diagonal, pass.values_cotangent == nullptr ? T(0) : pass.values_cotangent[i]);
      }
      const auto inner = add_scaled(against, one, together);
      store_along<T>(result + at * parts, inner, count);
    });
  }
  return division.needs_magnitude();
}

template <typename T, bool is_complex>
bool divide_outer_of(
    const SingularPairPass<T>& pass,
    int64_t rows,
    const T* cotangent,
    const T* projected,
    const T* left_norms,
    const T* magnitude,
    T* result) {
  constexpr int parts = is_complex ? 2 : 1;
  const Vec<T> one(T(1));
  const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
  // The absolute values in a row of L, which has orthonormal columns, sum up to at most the root of their number.
  const Vec<T> row_sum(T(1.01) * std::sqrt(static_cast<T>(pass.n)));
  PairDivision<T, is_complex> division(pass, magnitude);
  for (int64_t r = 0; r < rows; ++r) {
    for_each_vector<T>(0, pass.n, [&](int64_t column, int count) {
      const auto at = r * pass.n + column;
      const auto g = load_along<T, is_complex>(cotangent + at * parts, count);
      const auto R = subtract_scaled(load_along<T, is_complex>(projected + at * parts, count), one, g);
      const auto there = division.values(column, count);
      const auto value = math::denominator(math::Denominator::value, there, there);
      const auto least = abs_lower_bound(g);
      const auto norms = pass.gates ? row_sum * load_along<T, false>(left_norms + column, count) : row_sum;
      const auto most = fma(root, least, norms);
      const auto inside = division.inside(pass.around_zero, column, count, value);
      store_along<T>(result + at * parts, division.over(R, value, least, most, inside, at, count), count);
    });
  }
  return division.needs_magnitude();
}

template <typename T>
bool divide_inner(
    const SingularPairPass<T>& pass,
    const InnerCotangent<T>& left,
    const InnerCotangent<T>& right,
    const T* magnitude,
    T* result) {
  return pass.is_complex ? divide_inner_of<T, true>(pass, left, right, magnitude, result)
                         : divide_inner_of<T, false>(pass, left, right, magnitude, result);
}

template <typename T>
bool divide_outer(
    const SingularPairPass<T>& pass,
    int64_t rows,
    const T* cotangent,
    const T* projected,
    const T* left_norms,
    const T* magnitude,
    T* result) {
  return pass.is_complex ? divide_outer_of<T, true>(pass, rows, cotangent, projected, left_norms, magnitude, result)
                         : divide_outer_of<T, false>(pass, rows, cotangent, projected, left_norms, magnitude, result);
}

template <typename T>
constexpr SingularPairKernel<T> kernel{divide_inner<T>, divide_outer<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(SingularPairKernel)

} // namespace spectralgrad::kernels::simd
