#pragma once

#include <ATen/core/Tensor.h>

// Derivatives of the canonical gauge V' = V Q, as differentiable tensor code. Q is unitary and mixes the columns of
// each cluster, such that the rows of V' at the cluster's pivots form a lower triangle T with a real, positive
// diagonal.
//
// With E = dV Q and dQ = Q Omega, dV' = E + V' Omega. T stays a lower triangle with a real diagonal if
//     Omega = -(U - U^H) - i Im diag M,    M = T^-1 E_p,
// where E_p are the rows of E at the pivots and U is the part of M above the diagonal. Pivots and clusters are
// constants. The cotangent of V has no part that depends on the basis inside a cluster, so `eigh` has an exact
// derivative for it.
namespace spectralgrad::math {

/// Forward mode: returns dV' (*, m, c) for dV = `tangent` (*, m, c). `turned` is V' (*, m, c); `pivots` and `clusters`
/// (*, c) are those of kernels/canonical_gauge/canonical_frame.h.
at::Tensor canonical_gauge_jvp(
    const at::Tensor& tangent,
    const at::Tensor& V,
    const at::Tensor& turned,
    const at::Tensor& pivots,
    const at::Tensor& clusters);

/// Reverse mode: returns gV (*, m, c), the adjoint of `canonical_gauge_jvp`.
at::Tensor canonical_gauge_vjp(
    const at::Tensor& cotangent,
    const at::Tensor& V,
    const at::Tensor& turned,
    const at::Tensor& pivots,
    const at::Tensor& clusters);

} // namespace spectralgrad::math
