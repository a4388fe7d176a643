#pragma once

#include <ATen/core/Tensor.h>

#include <array>

// Moments of point clouds, one pair of clouds in each SIMD lane. They do the same as math/point_moments.h, with the
// same arguments and results. The results are not differentiable.
namespace spectralgrad::kernels {

/// Whether the kernels take clouds like `points` (*, n, d). Larger clouds are left to tensor code, because a register
/// of them does not fit the cache.
bool clouds_go_to_lanes(const at::Tensor& points);

struct PointMoments {
  std::array<at::Tensor, 6> moments; // in the order of math::PointMoments
  bool bad; // whether a number is not finite or a weight is negative
};

PointMoments point_moments(const at::Tensor& source, const at::Tensor& target, const at::Tensor& weights);

/// Gradients that are not `needed` are undefined.
std::array<at::Tensor, 3> point_moments_vjp(
    const std::array<at::Tensor, 4>& cotangents,
    const at::Tensor& source,
    const at::Tensor& target,
    const at::Tensor& weights,
    const at::Tensor& source_center,
    const at::Tensor& target_center,
    const at::Tensor& units,
    const std::array<bool, 3>& needed);

} // namespace spectralgrad::kernels
