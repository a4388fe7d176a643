#pragma once

#include <ATen/core/Tensor.h>

#include <array>

// Moments of two point clouds x_i and y_i (*, n, d) with weights w_i (*, n), as differentiable tensor code. The weights
// are undefined if all are 1.
namespace spectralgrad::math {

/// With W = sum w, a = sum w x / W and b = sum w y / W, the deviations are x' = x - a and y' = y - b. A total weight of
/// 0 counts as 1.
struct PointMoments {
  at::Tensor source_center; // a (*, d)
  at::Tensor target_center; // b (*, d)
  at::Tensor covariance; // sum w y' x'^T (*, d, d), in units
  at::Tensor variance; // sum w |x'|^2 (*), in units; 0 if the points x coincide up to round-off
  at::Tensor noise; // (*), the round-off of singular values of the covariance
  at::Tensor units; // (*, 3), of x', y' and w: 1, or a power of two if products might overflow or underflow
};

/// The noise and the units are constants.
PointMoments point_moments(const at::Tensor& source, const at::Tensor& target, const at::Tensor& weights);

/// The gradients of `source`, `target` and `weights`; the last one is undefined without weights. `cotangents` are those
/// of a, b, the covariance and the variance. Undefined ones are zero.
std::array<at::Tensor, 3> point_moments_vjp(
    const std::array<at::Tensor, 4>& cotangents,
    const at::Tensor& source,
    const at::Tensor& target,
    const at::Tensor& weights,
    const at::Tensor& source_center,
    const at::Tensor& target_center,
    const at::Tensor& units);

/// The tangents of a, b, the covariance and the variance. `tangents` are those of the points and the weights. Undefined
/// ones are zero.
std::array<at::Tensor, 4> point_moments_jvp(
    const std::array<at::Tensor, 3>& tangents,
    const at::Tensor& source,
    const at::Tensor& target,
    const at::Tensor& weights,
    const at::Tensor& source_center,
    const at::Tensor& target_center,
    const at::Tensor& units);

} // namespace spectralgrad::math
