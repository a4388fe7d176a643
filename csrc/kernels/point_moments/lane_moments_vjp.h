#pragma once

#include "kernels/point_moments/lane_clouds.h"
#include "kernels/point_moments/point_moments_batch.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The vjp of `Moments`.
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

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
