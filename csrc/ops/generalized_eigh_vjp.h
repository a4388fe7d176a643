#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <utility>

namespace spectralgrad::ops {

/// `math::generalized_eigh_vjp` as an operator. It runs differentiable tensor code if its arguments are differentiated,
/// else a kernel where there is one. A gradient that is not needed, and one of undefined cotangents, is
/// undefined.
std::pair<at::Tensor, at::Tensor> generalized_eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first,
    bool needs_A,
    bool needs_B,
    const Rule& rule);

} // namespace spectralgrad::ops
