#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::kernels {

/// `math::eigh_jvp` of small CPU matrices (`pass_in_lanes`) that are not differentiated further, in one pass with one matrix in
/// each SIMD lane; n >= 1.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
