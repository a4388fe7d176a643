#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

namespace spectralgrad::ops {

/// `math::generalized_eigh_jvp` as an operator. One of the tangents may be undefined.
std::pair<at::Tensor, at::Tensor> generalized_eigh_jvp(
    const at::Tensor& A_tangent,
    const at::Tensor& B_tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    int64_t itype,
    const Rule& rule);

} // namespace spectralgrad::ops
