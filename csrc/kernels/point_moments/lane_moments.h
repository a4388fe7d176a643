#pragma once

#include "core/tolerances.h"
#include "kernels/point_moments/lane_clouds.h"
#include "kernels/point_moments/point_moments_batch.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The moments of one pair of clouds in each lane. The formulas are those of math/point_moments.cpp.
template <typename T, bool weighted, int known_d>
class Moments {
 public:
  using Clouds = LaneClouds<T, weighted, known_d>;
  static constexpr int W = lane_count<T>;

  Moments(const PointMomentsBatch<T>& batch, Memory<T> memory) : batch_(batch), p_(batch.clouds, memory) {
    source_center_ = memory.row(p_.dimension());
    target_center_ = memory.row(p_.dimension());
    covariance_ = memory.row(p_.dimension() * p_.dimension());
    scalars_ = memory.row(5);
  }

  void run(const Members& members) {
    p_.load(members);
    const Vec<T> zero(T(0));
    const Vec<T> one(T(1));
    const auto weight_unit = weighted ? scale_of(largest_weight()) : Scale<T>(one);
    const auto total = p_.scale_weights(weight_unit.to);
    const auto source = center(p_.x, total, source_center_);
    const auto target = center(p_.y, total, target_center_);
    const auto source_unit = scale_of(source.deviation);
    const auto target_unit = scale_of(target.deviation);
    scale_deviations(p_.x, source_unit.to);
    scale_deviations(p_.y, target_unit.to);
    // 0 x is NaN in lanes where x is not finite.
    const auto finite = bad_numbers_ == zero;
    store_mask<T>(negation<T>(finite & negation<T>(negative_)), members, batch_.bad);
    const auto variance = find_covariance();
    const Vec<T> round_off(batch_.round_off);
    const auto source_noise = round_off * source.size;
    const auto target_noise = round_off * target.size;
    const auto coincide = source.deviation <= source_noise;
    auto* const variance_at = scalars_;
    store(variance_at, select<T>(coincide, zero, variance));
    auto* const noise_at = scalars_ + W;
    store(
        noise_at,
        true_total(total) *
            ((source_noise * source_unit.to) * (target.deviation * target_unit.to) +
             (target_noise * target_unit.to) * (source.deviation * source_unit.to)));
    auto* const units_at = scalars_ + 2 * W;
    store(units_at, source_unit.from);
    store(units_at + W, target_unit.from);
    store(units_at + 2 * W, weight_unit.from);
    Clouds::store_row(batch_.source_center, p_.dimension(), members, source_center_);
    Clouds::store_row(batch_.target_center, p_.dimension(), members, target_center_);
    Clouds::store_row(batch_.covariance, p_.dimension() * p_.dimension(), members, covariance_);
    Clouds::store_row(batch_.variance, 1, members, variance_at);
    Clouds::store_row(batch_.noise, 1, members, noise_at);
    Clouds::store_row(batch_.units, 3, members, units_at);
  }

 private:
  /// The largest coordinate and the largest deviation of points that have a weight.
  struct Sizes {
    Vec<T> size;
    Vec<T> deviation;
  };

  /// The unit for numbers up to `largest`.
  static Scale<T> scale_of(const Vec<T>& largest) {
    constexpr T limit = static_cast<T>(tolerances::largest_without_unit);
    const Vec<T> zero(T(0));
    const auto needed = (Vec<T>(limit) < largest) | ((zero < largest) & (largest < Vec<T>(T(1) / limit)));
    return Scale<T>(select<T>(needed, largest, Vec<T>(T(1))));
  }

  Vec<T> largest_weight() {
    const Vec<T> zero(T(0));
    auto largest = zero;
    for (int i = 0; i < p_.n; ++i) {
      const auto weight = p_.weight(i);
      largest = larger(largest, weight);
      bad_numbers_ = fma(weight, zero, bad_numbers_);
      negative_ = negative_ | (weight < zero);
    }
    return largest;
  }

  /// Replaces points by their deviations from the center.
  Sizes center(T* points, const Vec<T>& total, T* center) {
    const int n = p_.n;
    const int d = p_.dimension();
    const Vec<T> zero(T(0));
    const auto inverse = Vec<T>(T(1)) / total;
    Sizes sizes{zero, zero};
    for (int c = 0; c < d; ++c) {
      auto sum = zero;
      for (int i = 0; i < n; ++i) {
        const auto point = load(points + (i * d + c) * W);
        bad_numbers_ = fma(point, zero, bad_numbers_);
        sum = weighted ? fma(point, p_.weight(i) * inverse, sum) : sum + point;
      }
      const auto mean = weighted ? sum : sum / total;
      store(center + c * W, mean);
      for (int i = 0; i < n; ++i) {
        T* at = points + (i * d + c) * W;
        const auto point = load(at);
        const auto deviation = point - mean;
        store(at, deviation);
        if constexpr (weighted) {
          const auto counts = zero < p_.weight(i);
          sizes.size = larger(sizes.size, where(counts, point.abs()));
          sizes.deviation = larger(sizes.deviation, where(counts, deviation.abs()));
        } else {
          sizes.size = larger(sizes.size, point.abs());
          sizes.deviation = larger(sizes.deviation, deviation.abs());
        }
      }
    }
    return sizes;
  }

  void scale_deviations(T* deviations, const Vec<T>& factor) const {
    for (int k = 0; k < p_.n * p_.dimension(); ++k) {
      store(deviations + k * W, load(deviations + k * W) * factor);
    }
  }

  /// Returns the variance.
  Vec<T> find_covariance() const {
    const int n = p_.n;
    const int d = p_.dimension();
    Vec<T> variance(T(0));
    for (int b = 0; b < d; ++b) {
      for (int a = 0; a < d; ++a) {
        Vec<T> sum(T(0));
        for (int i = 0; i < n; ++i) {
          const auto x = load(p_.x + (i * d + b) * W);
          sum = fma(load(p_.y + (i * d + a) * W), weighted ? p_.weight(i) * x : x, sum);
        }
        store(covariance_ + (a * d + b) * W, sum);
      }
      for (int i = 0; i < n; ++i) {
        const auto x = load(p_.x + (i * d + b) * W);
        variance = fma(x, weighted ? p_.weight(i) * x : x, variance);
      }
    }
    return variance;
  }

  /// The sum of the weights, where `total` has 1 instead of 0.
  Vec<T> true_total(const Vec<T>& total) const {
    if constexpr (!weighted) {
      return total;
    }
    Vec<T> sum(T(0));
    for (int i = 0; i < p_.n; ++i) {
      sum = sum + p_.weight(i);
    }
    return sum;
  }

  const PointMomentsBatch<T>& batch_;
  Clouds p_;
  T* source_center_;
  T* target_center_;
  T* covariance_;
  T* scalars_; // the variance, the noise and the units
  Vec<T> bad_numbers_{T(0)};
  Mask<T> negative_{T(0)};
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
