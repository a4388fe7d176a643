#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::ops {

/// `math::eig_jvp` as an operator.
std::tuple<at::Tensor, at::Tensor> eig_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::ops
