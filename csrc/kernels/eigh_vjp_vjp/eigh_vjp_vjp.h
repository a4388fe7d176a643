#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <array>

namespace spectralgrad::kernels {

/// Does the same as `math::eigh_vjp_vjp`, in one pass with one matrix in each SIMD lane. For CPU matrices with n >= 1
/// that are small (`pass_in_lanes`). `x` are g_lambda, gV, the eigenvalues and the eigenvectors. The results are not
/// differentiable.
std::array<at::Tensor, 4> eigh_vjp_vjp(
    const at::Tensor& cotangent,
    const std::array<at::Tensor, 4>& x,
    const Rule& rule);

} // namespace spectralgrad::kernels
