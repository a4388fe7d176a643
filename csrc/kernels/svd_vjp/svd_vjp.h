#pragma once

#include "kernels/svd_vjp/svd_gradient.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// Whether `svd_vjp` supports these singular vectors: nonempty CPU tensors with min(m, n) columns each.
bool supports_svd_vjp(const at::Tensor& U, const at::Tensor& Vh);

/// `math::svd_vjp` for tensors that are not differentiated further. Small matrices are processed in one pass, one in
/// each SIMD lane. Larger ones use matrix products with a pass between them. The magnitude N is computed only if bounds
/// of it do not decide. Cotangents may be undefined, but not all of them.
///
/// The loss is not judged. If checks are on, the result tells whether that is needed.
SvdGradient svd_vjp(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::kernels
