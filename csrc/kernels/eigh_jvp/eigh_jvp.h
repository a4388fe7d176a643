#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::kernels {

/// `math::eigh_jvp` for CPU tensors that are not differentiated further: small matrices in one pass, one in each lane of a
/// SIMD register; others as tensor code.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

/// As tensor code, on any device; once where the batch repeats one decomposition.
std::pair<at::Tensor, at::Tensor> eigh_jvp_by_tensor_code(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
