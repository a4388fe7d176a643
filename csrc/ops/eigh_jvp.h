#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::ops {

/// `math::eigh_jvp` as an operator. It runs differentiable tensor code if its arguments are differentiated, else a
/// kernel.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::ops
