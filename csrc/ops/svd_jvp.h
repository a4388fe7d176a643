#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::ops {

/// `math::svd_jvp` as an operator.
std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_jvp(
    const at::Tensor& tangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::ops
