#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// `math::eig_vjp` as an operator. It runs differentiable tensor code if its arguments are differentiated, else a
/// kernel. Each cotangent may be undefined; if both are, so is the result.
at::Tensor eig_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& A,
    const Rule& rule);

} // namespace spectralgrad::ops
