#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

namespace spectralgrad::ops {

/// The operator `spectralgrad::eigh_subset_vjp`. Its formula is that of math/eigh_subset.h. It is differentiable tensor
/// code. If both cotangents are undefined, so is the result.
at::Tensor eigh_subset_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule);

} // namespace spectralgrad::ops
