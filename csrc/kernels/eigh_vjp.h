#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// `derivatives::eigh_vjp` for CPU tensors that are not differentiated further: the products are ATen's, everything between
/// them is one pass over each matrix. The magnitudes N are formed for those entries alone that they decide about.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::kernels
