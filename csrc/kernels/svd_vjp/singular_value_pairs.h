#pragma once

#include "kernels/eigh_vjp/gap_quotient.h"
#include "kernels/svd_vjp/lane_cotangents.h"
#include "math/pairs/clusters.h"

#include <cmath>

// The divisions by sigma_j - sigma_i, sigma_j + sigma_i and sigma_j, one matrix in each lane.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T, bool is_complex>
class SingularValuePairs {
 public:
  static constexpr int W = lane_count<T>;
  using E = Entry<T, is_complex>;
  using A = VectorArithmetic<T>;

  /// `units` is the scale of the cotangents. `clusters` is a row of vectors for the numbers of the clusters. Multiplies
  /// the singular values by the headroom.
  SPECTRALGRAD_INLINE SingularValuePairs(
      const SvdVjpBatch<T>& batch,
      const LaneCotangents<T, is_complex>& all,
      T* clusters,
      const Scale<T>& units)
      : all_(all),
        clusters_(clusters),
        gates_(batch.gates),
        largest_(all.value(0)),
        quotient_(largest_, batch.rule, batch.gate),
        unit_(units.from * quotient_.headroom),
        reach_(quotient_.gate.reach * quotient_.largest) {
    for (int i = 0; i < all_.count(); ++i) {
      store(all_.values + i * W, all_.value(i) * quotient_.headroom);
    }
    if (gates_) {
      floor_ = quotient_.gate.cluster_noise * cotangent_scale(units.to);
      find_clusters();
    }
  }

  /// Turns L W_L into the part of the gradient outside the range of L, divided by sigma_j.
  SPECTRALGRAD_INLINE void divide_outer() {
    const auto& left = all_.left;
    // |X| of a row of orthonormal columns sums up to at most the root of their number.
    const Vec<T> row_sum(T(1.01) * std::sqrt(static_cast<T>(all_.count())));
    const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
    for (int c = 0; c < all_.count(); ++c) {
      const auto value = math::denominator(math::Denominator::value, all_.value(c), all_.value(c));
      const auto inside = math::in_one_cluster<A>(around_zero_, load(clusters_ + c * W), value, reach_);
      const auto most = row_sum * load(left.norms + c * W);
      for (int r = 0; r < left.rows; ++r) {
        auto R = all_.outer_part(r, c);
        if (gates_) {
          const auto size = abs_lower_bound(left.cotangent(r, c));
          const auto N = [&] {
            return all_.left.outer_magnitude(r, c);
          };
          R = gated(R, size, fma(root, size, most), inside, N);
        }
        store_entry(all_.outer.at(r, c), over(R, value));
      }
    }
  }

  /// Turns W_L + W_R into diag(g_sigma) + F^- o S_together + F^+ o S_against.
  SPECTRALGRAD_INLINE void divide_inner() {
    const int n = all_.count();
    const Vec<T> one(T(1));
    const Mask<T> none(T(0));
    const bool mirrored = gates_ && any<T>(Vec<T>(T(0)) <= around_mirror_);
    for (int i = 0; i < n; ++i) {
      const auto here = all_.value(i);
      bool clustered = gates_ && repeated_;
      const auto cluster = load(clusters_ + i * W);
      for (int j = i; j < n; ++j) {
        const auto there = all_.value(j);
        const auto sum = math::denominator(math::Denominator::sum, here, there);
        auto inside = none;
        if (mirrored) {
          const auto mirror = A::select(cluster == around_mirror_, cluster, Vec<T>(T(-1)));
          inside = math::in_one_cluster<A>(mirror, load(clusters_ + j * W), sum, reach_);
        }
        const auto least = gates_ ? all_.least_magnitude(i, j) : Vec<T>(T(0));
        const auto against = divided(all_.against, i, j, sum, inside, least);
        if (i == j) {
          // Also for real matrices, because 0/0 is NaN under the rule `bare`.
          const auto g = real_entry<T, is_complex>(all_.value_cotangent(i));
          store_entry(all_.together.at(i, i), add_scaled(against, one, g));
          continue;
        }
        const auto gap = math::denominator(math::Denominator::difference, here, there);
        inside = none;
        if (clustered) {
          inside = math::in_one_cluster<A>(cluster, load(clusters_ + j * W), gap, reach_);
          // Singular values are descending, so later ones are not closer.
          clustered = any<T>(inside);
        }
        const auto together = divided(all_.together, i, j, gap, inside, least);
        store_entry(all_.together.at(i, j), add_scaled(against, one, together));
        store_entry(all_.together.at(j, i), conj(subtract_scaled(against, one, together)));
      }
    }
  }

 private:
  /// M
  SPECTRALGRAD_INLINE Vec<T> cotangent_scale(const Vec<T>& to_units) const {
    auto most = larger(all_.left.find_norms(), all_.right.find_norms());
    for (int i = 0; i < all_.count(); ++i) {
      most = larger(most, all_.value_cotangent(i).abs() * to_units * largest_);
    }
    return most;
  }

  /// Numbers the clusters of -sigma, and finds the one that includes 0.
  SPECTRALGRAD_INLINE void find_clusters() {
    const int n = all_.count();
    const auto step = Vec<T>(quotient_.gate.step) * quotient_.largest;
    const Vec<T> zero(T(0));
    repeated_ = any<T>(math::number_clusters<A>(
        n,
        step,
        [&](int64_t i) { return zero - load(all_.values + i * W); },
        [&](int64_t i, const Vec<T>& number) { store(clusters_ + i * W, number); }));
    const auto last = load(clusters_ + (n - 1) * W);
    const auto smallest = all_.value(n - 1);
    const Vec<T> outside(T(-1));
    around_zero_ = A::select(math::begins_cluster(smallest, step), outside, last);
    around_mirror_ = A::select(math::begins_cluster(smallest + smallest, step), outside, last);
  }

  /// S, or zero where the noise gate drops it. N is between `least` and `most`, and `magnitude()` computes it.
  template <typename Magnitude>
  SPECTRALGRAD_INLINE E
  gated(const E& S, const Vec<T>& least, const Vec<T>& most, const Mask<T>& inside, const Magnitude& magnitude) const {
    const auto decide = [&](const Mask<T>& undecided, bool is_inside) {
      const auto size = size_of(S);
      const auto N = magnitude();
      return undecided &
          (is_inside ? quotient_.gate.template is_above_limit<A>(size, N)
                     : quotient_.gate.template is_dropped_outside<A>(size, N));
    };
    const auto none = zero_entry<T, is_complex>();
    return quotient_.without_noise(S, real_entry<T, is_complex>(least), none, most, inside, floor_, decide);
  }

  SPECTRALGRAD_INLINE E over(const E& S, const Vec<T>& denominator) const {
    // Applies `unit` and 1/scale last and one after the other, because their product may be out of range.
    return quotient_.over_unit(scale(quotient_(S, denominator), unit_));
  }

  /// The skew-Hermitian part of W_ij over the denominator.
  SPECTRALGRAD_INLINE E
  divided(const View<T>& matrix, int i, int j, const Vec<T>& denominator, const Mask<T>& inside, const Vec<T>& least)
      const {
    const auto upper = load_entry<T, is_complex>(matrix.at(i, j));
    const auto lower = conj(load_entry<T, is_complex>(matrix.at(j, i)));
    auto S = quotient_.skew_part(upper, lower);
    if (gates_) {
      const auto norms = norm(i) + norm(j);
      S = gated(S, least, norms, inside, [&] { return all_.magnitude(i, j); });
    }
    return over(S, denominator);
  }

  SPECTRALGRAD_INLINE Vec<T> norm(int i) const {
    return load(all_.left.norms + i * W) + load(all_.right.norms + i * W);
  }

  const LaneCotangents<T, is_complex>& all_;
  T* clusters_;
  bool gates_;
  Vec<T> largest_;
  GapQuotient<T> quotient_;
  Vec<T> unit_;
  Vec<T> reach_;
  Vec<T> floor_{T(0)};
  Vec<T> around_zero_{T(-1)}; // the number of the cluster that includes 0, or -1
  Vec<T> around_mirror_{T(-1)}; // the number of the cluster that includes sigma and -sigma, or -1
  bool repeated_ = false;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
