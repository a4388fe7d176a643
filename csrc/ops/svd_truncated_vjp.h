#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// The operator `spectralgrad::svd_truncated_vjp`. Its formula is that of math/svd_truncated.h. It is differentiable
/// tensor code. If all cotangents are undefined, so is the result.
at::Tensor svd_truncated_vjp(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::ops
