#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::kernels {

/// Does the same as `math::eigh_jvp` by three matrix products, with one pass between them that divides by gaps. For CPU
/// matrices with n >= 1. The decomposition may have fewer batch dimensions than the tangent. The results are not
/// differentiable.
std::pair<at::Tensor, at::Tensor> eigh_jvp_by_products(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
