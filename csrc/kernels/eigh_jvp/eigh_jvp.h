#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::kernels {

/// Does the same as `math::eigh_jvp`, in one pass with one matrix in each SIMD lane. For CPU matrices with n >= 1
/// that are small (`pass_in_lanes`). The results are not differentiable.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
