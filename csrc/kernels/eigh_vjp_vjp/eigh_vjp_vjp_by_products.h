#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <array>

namespace spectralgrad::kernels {

/// Does the same as `math::eigh_vjp_vjp`, by seven matrix products and one pass over all pairs. For CPU matrices with
/// n >= 1. `x` are g_lambda, which may be undefined, gV, the eigenvalues and the eigenvectors. The results are not
/// differentiable.
std::array<at::Tensor, 4> eigh_vjp_vjp_by_products(
    const at::Tensor& cotangent,
    const std::array<at::Tensor, 4>& x,
    const Rule& rule);

} // namespace spectralgrad::kernels
