#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// Returns dW for E = dA, as differentiable tensor code: with P = W^H A, the skew-Hermitian Omega = W^H dW solves
///     P Omega + Omega P = W^H E - E^H W,    dW = W Omega + (I - W W^H) E P^-1.
/// `A` is (*, m, n), m >= n. The `values` and `vectors` of P are constants. The map from E to dW is self-adjoint.
at::Tensor polar_factor_derivative(
    const at::Tensor& E,
    const at::Tensor& A,
    const at::Tensor& W,
    const at::Tensor& values,
    const at::Tensor& vectors);

/// Returns the gradient of A for the cotangents of W and of the trace of P; undefined cotangents are zero. A loss that
/// depends on a W that is not unique is reported. Differentiable to any order.
at::Tensor polar_factor_vjp(
    const at::Tensor& W_cotangent,
    const at::Tensor& trace_cotangent,
    const at::Tensor& A,
    const at::Tensor& W,
    const at::Tensor& values,
    const at::Tensor& vectors,
    bool proper);

} // namespace spectralgrad::ops
