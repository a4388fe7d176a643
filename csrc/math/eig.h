#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <utility>

// Derivatives of the decomposition A = V diag(lambda) V^-1 of general matrices A (*, n, n), as differentiable tensor
// code. The columns of V have norm 1, and their phases are free. lambda and V are complex, also for real A.
//
// Boeddeker et al. (2017), arXiv:1701.00392, section 4; Giles (2008), "An extended collection of matrix derivative
// results", section 3.1, without the norm of the eigenvectors.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, n, n). With W = V^H gV,
///     gA = V^-H [ diag(g_lambda) + conj(F) o S ] V^H,    S = W - V^H V real(diag W),
///     F_ij = 1/(lambda_j - lambda_i) by the rule.
/// The second term of S is due to the norm of the eigenvectors, which does not change. The gradient of an eigenvalue is
/// the outer product of its left and its right eigenvector. For real A the result is its real part.
///
/// If eigenvectors are nearly parallel, the terms of the first part cancel, and it comes from
/// math/near_defective_gradient.h. `A` is the decomposed matrix. Each cotangent may be undefined, which means zero. If
/// both are, so is the result.
at::Tensor eig_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& A,
    const Rule& rule);

/// Forward mode: returns (d_lambda, dV). With X = V^-1 dA V and Y = F o X,
///     d_lambda = diag X,    dV = V Y - V real(diag(V^H V Y)),
/// which is torch's choice of the free phases. It is the adjoint of `eig_vjp`, up to the noise gate.
std::pair<at::Tensor, at::Tensor> eig_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::math
