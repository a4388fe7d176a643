#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <string_view>
#include <utility>

// Derivatives of the decomposition A = V diag(lambda) V^H of Hermitian A (*, n, n), as differentiable tensor code.
//
// Giles (2008), "An extended collection of matrix derivative results", section 3.1; Seeger, Hetzel, Dai, Lawrence
// (2017), arXiv:1710.08717; the complex case: Boeddeker et al. (2017), arXiv:1701.00392.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, n, n). With W = V^H gV and S = (W - W^H)/2,
///     gA = V [ diag(g_lambda) + F o S ] V^H,    F_ij = 1/(lambda_j - lambda_i) by the rule,
/// which is exactly Hermitian. The Hermitian part of W does not contribute, because A is Hermitian; keeping it would
/// cost accuracy near degenerate eigenvalues. Each cotangent may be undefined, which means zero. If both are, so is the
/// result.
at::Tensor eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

/// Forward mode: returns (d_lambda, dV). With X = V^H dA V, where dA is the Hermitian part of `tangent`,
///     d_lambda = real(diag X),    dV = V (F o X),
/// in the gauge diag(V^H dV) = 0. It is the adjoint of `eigh_vjp`. For a gap d above round-off, the tangent of a
/// projector has an error of about eps*max|lambda|/d. Forward mode through the eigenvectors cannot avoid it.
std::pair<at::Tensor, at::Tensor> eigh_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

/// The first result of `eigh_jvp` alone, by one matrix product.
at::Tensor eigvalsh_jvp(const at::Tensor& tangent, const at::Tensor& eigenvalues, const at::Tensor& eigenvectors);

} // namespace spectralgrad::math
