#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// Whether `svd_vjp_in_lanes` supports these singular vectors, and is faster than tensor code. It supports CPU tensors
/// with U and V of min(m, n) columns each.
bool svd_vjp_goes_to_lanes(const at::Tensor& U, const at::Tensor& Vh);

struct SvdGradient {
  at::Tensor gradient; // (*, m, n)
  bool suspicious; // whether the loss may have no gradient for some matrix; `math::svd_vjp` judges it
};

/// `math::svd_vjp` for tensors that are not differentiated further, in one pass with one matrix in each SIMD lane.
/// Cotangents may be undefined, but not all of them. The gradient of a matrix does not depend on the other matrices or
/// on the number of threads, to the bit.
///
/// The loss is not judged. If checks are on, `suspicious` tells whether that is needed.
SvdGradient svd_vjp_in_lanes(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::kernels
