#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// `math::eigh_vjp` for CPU tensors that are not differentiated further. Small matrices: in one pass, one in each lane of a
/// SIMD register. Others: by matrix products and passes between them, without columns that no cotangent came for. The magnitudes N
/// are formed for those entries alone that they decide about.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
