#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <string_view>
#include <utility>

// Derivatives of A = V diag(lambda) V^H, A Hermitian (*, n, n), as differentiable tensor code.
//
// Giles (2008), "An extended collection of matrix derivative results", section 3.1; Seeger, Hetzel, Dai, Lawrence (2017),
// arXiv:1710.08717; the complex case: Boeddeker et al. (2017), arXiv:1701.00392.
namespace spectralgrad::math {

/// Reverse mode. With W = V^H gV and S = (W - W^H)/2,
///     gA = V [ diag(g_lambda) + F o S ] V^H,    F_ij = 1/(lambda_j - lambda_i) by the rule,
/// exactly Hermitian. S rather than W: the rest of W is removed by the constraint that A is Hermitian, and costs accuracy
/// near a degeneracy. Both cotangents may be undefined; nothing is computed for one that is.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

/// Forward mode. With X = V^H dA V, dA made Hermitian first (so that it is the adjoint of `eigh_vjp`),
///     d_lambda = real(diag X),    dV = V (F o X),
/// in the gauge diag(V^H dV) = 0. Above the noise of a gap d the tangent of a projector carries an error of about
/// eps*max|lambda|/d, which is inherent to forward mode through the eigenvectors.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::math
