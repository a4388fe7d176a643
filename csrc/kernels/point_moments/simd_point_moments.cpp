#include "kernels/point_moments/simd_point_moments.h"
#include "kernels/point_moments/lane_clouds.h"

// Compiled once for each instruction set. The formulas are those of math/point_moments.cpp.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

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

template <typename T, bool weighted, int known_d>
class MomentsVjp {
 public:
  using Clouds = LaneClouds<T, weighted, known_d>;
  static constexpr int W = lane_count<T>;

  MomentsVjp(const PointMomentsVjpBatch<T>& batch, Memory<T> memory) : batch_(batch), p_(batch.clouds, memory) {
    const int d = p_.dimension();
    a_ = memory.row(d);
    b_ = memory.row(d);
    a_cotangent_ = memory.row(d);
    b_cotangent_ = memory.row(d);
    covariance_cotangent_ = memory.row(d * d);
    of_source_ = memory.row(d);
    of_target_ = memory.row(d);
    scalars_ = memory.row(4);
  }

  void run(const Members& members) {
    const int d = p_.dimension();
    const Vec<T> one(T(1));
    prefetch_if_needed(batch_.source_gradient, members);
    prefetch_if_needed(batch_.target_gradient, members);
    p_.load(members);
    Clouds::load_row(batch_.source_center, d, members, a_);
    Clouds::load_row(batch_.target_center, d, members, b_);
    Clouds::load_row(batch_.source_center_cotangent, d, members, a_cotangent_);
    Clouds::load_row(batch_.target_center_cotangent, d, members, b_cotangent_);
    Clouds::load_row(batch_.covariance_cotangent, d * d, members, covariance_cotangent_);
    Clouds::load_row(batch_.variance_cotangent, 1, members, scalars_);
    Clouds::load_row(batch_.units, 3, members, scalars_ + W);
    const auto variance_cotangent = load(scalars_);
    const auto source_unit = load(scalars_ + W);
    const auto target_unit = load(scalars_ + 2 * W);
    const auto per_weight = one / load(scalars_ + 3 * W);
    const auto per_source = one / source_unit;
    const auto per_target = one / target_unit;
    const auto inverse = one / p_.scale_weights(per_weight);
    for (int c = 0; c < d; ++c) {
      store(a_cotangent_ + c * W, load(a_cotangent_ + c * W) * inverse);
      store(b_cotangent_ + c * W, load(b_cotangent_ + c * W) * inverse);
    }
    const bool needs_target = batch_.target_gradient != nullptr;
    for (int i = 0; i < p_.n; ++i) {
      T* const x = p_.x + i * d * W;
      T* const y = p_.y + i * d * W;
      Vec<T> of_weight(T(0));
      for (int c = 0; c < d; ++c) {
        const auto dx = load(x + c * W) - load(a_ + c * W);
        const auto dy = load(y + c * W) - load(b_ + c * W);
        if constexpr (weighted) {
          of_weight = fma(dx, load(a_cotangent_ + c * W), fma(dy, load(b_cotangent_ + c * W), of_weight));
        }
        store(x + c * W, dx * per_source);
        store(y + c * W, dy * per_target);
      }
      for (int c = 0; c < d; ++c) {
        const auto here = load(x + c * W);
        const auto of_variance = variance_cotangent * here;
        auto of_x = of_variance;
        Vec<T> of_y(T(0));
        for (int k = 0; k < d; ++k) {
          of_x = fma(load(y + k * W), load(covariance_cotangent_ + (k * d + c) * W), of_x);
          if (needs_target) {
            of_y = fma(load(x + k * W), load(covariance_cotangent_ + (c * d + k) * W), of_y);
          }
        }
        if constexpr (weighted) {
          of_weight = fma(of_x, here, of_weight);
        }
        store(of_source_ + c * W, fma(of_x + of_variance, per_source, load(a_cotangent_ + c * W)));
        store(of_target_ + c * W, fma(of_y, per_target, load(b_cotangent_ + c * W)));
      }
      const auto weight = p_.weight(i);
      for (int c = 0; c < d; ++c) {
        const auto of_x = load(of_source_ + c * W);
        const auto of_y = load(of_target_ + c * W);
        store(x + c * W, weighted ? of_x * weight : of_x);
        store(y + c * W, weighted ? of_y * weight : of_y);
      }
      if constexpr (weighted) {
        store(p_.w + i * W, of_weight * per_weight);
      }
    }
    store_if_needed(batch_.source_gradient, p_.n * d, members, p_.x);
    store_if_needed(batch_.target_gradient, p_.n * d, members, p_.y);
    if constexpr (weighted) {
      store_if_needed(batch_.weights_gradient, p_.n, members, p_.w);
    }
  }

 private:
  void prefetch_if_needed(const T* gradient, const Members& members) const {
    if (gradient != nullptr && members.count == W) {
      Clouds::template prefetch</*to_write=*/true>(gradient, p_.n * p_.dimension(), members.first);
    }
  }
  static void store_if_needed(T* to, int count, const Members& members, T* from) {
    if (to != nullptr) {
      Clouds::store_row(to, count, members, from);
    }
  }

  const PointMomentsVjpBatch<T>& batch_;
  Clouds p_;
  T* a_;
  T* b_;
  T* a_cotangent_; // over the total weight
  T* b_cotangent_;
  T* covariance_cotangent_;
  T* of_source_;
  T* of_target_;
  T* scalars_; // the cotangent of the variance, and the units
};

template <typename T>
int64_t workspace(int points, int dimension) {
  return LaneClouds<T, true, 0>::workspace_size(points, dimension) +
      static_cast<int64_t>(lane_count<T>) * (dimension * (dimension + 6) + 5);
}

template <typename Pass, typename T, typename Batch>
void run_over(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  constexpr int W = lane_count<T>;
  for (auto first = begin; first < end; first += W) {
    Pass(batch, Memory<T>(memory)).run({first, static_cast<int>(end - first < W ? end - first : W)});
  }
}

template <template <typename, bool, int> class Pass, typename T, bool weighted, typename Batch>
void run_weighted(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  switch (batch.clouds.dimension) {
    case 2:
      return run_over<Pass<T, weighted, 2>>(batch, begin, end, memory);
    case 3:
      return run_over<Pass<T, weighted, 3>>(batch, begin, end, memory);
    default:
      return run_over<Pass<T, weighted, 0>>(batch, begin, end, memory);
  }
}

template <template <typename, bool, int> class Pass, typename T, template <typename> class Batch>
void run(const Batch<T>& batch, int64_t begin, int64_t end, T* memory) {
  batch.clouds.weights != nullptr ? run_weighted<Pass, T, true>(batch, begin, end, memory)
                                  : run_weighted<Pass, T, false>(batch, begin, end, memory);
}

template <typename T>
constexpr PointMomentsKernel<T> kernel{
    lane_count<T>,
    workspace<T>,
    run<Moments, T, PointMomentsBatch>,
    run<MomentsVjp, T, PointMomentsVjpBatch>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(PointMomentsKernel)

} // namespace spectralgrad::kernels::simd
