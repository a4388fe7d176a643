#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// `math::eigh_vjp` as an operator: a kernel where no higher derivative is asked for, tensor code where one is. Both
/// cotangents may be undefined, and so is the result then.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::ops
