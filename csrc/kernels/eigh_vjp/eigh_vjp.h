#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// `math::eigh_vjp` for CPU tensors that are not differentiated further. Small matrices are processed in one pass, one
/// in each SIMD lane. Larger ones use matrix products with a pass between them, and skip columns with a zero cotangent.
/// The magnitude N is computed only for entries on which bounds of it do not decide.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
