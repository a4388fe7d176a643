#pragma once

#include "math/point_moments.h"

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// Does the same as `math::point_moments` for real point clouds (*, n, d) and weights (*, n), or none, of one batch
/// shape, n and d at least 1. Differentiable to every order. Points that are not finite and weights that are not finite
/// or negative raise an error that names `rigid_alignment` and the argument.
math::PointMoments point_moments(const at::Tensor& source, const at::Tensor& target, const at::Tensor& weights);

} // namespace spectralgrad::ops
