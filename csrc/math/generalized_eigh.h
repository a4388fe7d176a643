#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <utility>

// Derivatives of the generalized problem for Hermitian A and positive definite B (*, n, n), as differentiable tensor
// code. The types are those of LAPACK's sygvd:
//     itype 1: A V = B V diag(lambda),  V^H B V = I
//     itype 2: A B V = V diag(lambda),  V^H B V = I
//     itype 3: B A V = V diag(lambda),  V^H B^-1 V = I
//
// With U = V^-H (B V for types 1 and 2, B^-1 V for type 3), every type diagonalizes A and B at once:
//     K = P^H dA P,  C = R^H dB R,   P = V, U, V  and  R = V, V, U  for types 1, 2, 3.
// Differentiating the normalization gives dV = V X with X + X^H = -C (types 1, 2) or +C (type 3). So X = -C/2 + Z or
// C/2 + Z with a skew-Hermitian Z, and differentiating the eigenvalue equation gives
//     Z_ij (lambda_j - lambda_i) = M_ij,   M_ij = K_ij -+ C_ij (lambda_i + lambda_j)/2,   d_lambda = real(diag M),
// with - for type 1 and + for types 2 and 3. M is Hermitian, so Z is divided by gaps as for `eigh`. The part C/2 needs
// no division and stays in clusters of degenerate eigenvalues.
//
// All products are with V itself. The eigenvectors C^H V, for B = C C^H, have the derivatives of `eigh`, but the noise
// gate would not know the round-off that C amplifies. The diagonal of B tells how much that is
// (math/pairs/amplification.h).
//
// For B = I: Giles (2008), "An extended collection of matrix derivative results", section 3.1. For general B and
// distinct eigenvalues: Fox and Kapoor (1968), "Rates of change of eigenvalues and eigenvectors", AIAA Journal 6.
namespace spectralgrad::math {

/// Reverse mode: returns (gA, gB), both (*, n, n) and exactly Hermitian. With W = V^H gV, its skew-Hermitian part S and
/// its Hermitian part H,
///     Q = diag(g_lambda) + F o S,    gA = P Q P^H,    gB = R [ -+ (Lambda Q + Q Lambda)/2 -+ H/2 ] R^H,
/// with the signs -, - for type 1, +, - for type 2 and +, + for type 3. A gradient that is not needed stays undefined.
/// One undefined cotangent means zero; if both are undefined, so are the results.
///
/// The cotangents may be those of c eigenpairs only, from the index `first` on: (*, c) and (*, n, c). Then the tables
/// have n x c entries, as in math/eigh_subset.h, and the products with them cost O(n^2 c). `eigenvalues` and
/// `eigenvectors` are always the whole decomposition. `B_diagonal` (*, n) is real.
std::pair<at::Tensor, at::Tensor> generalized_eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first,
    bool needs_A,
    bool needs_B,
    const Rule& rule);

/// Forward mode: returns (d_lambda, dV) for the Hermitian parts of the tangents, one of which may be undefined. Pairs
/// whose gap is round-off do not turn into each other, as for `eigh`.
std::pair<at::Tensor, at::Tensor> generalized_eigh_jvp(
    const at::Tensor& A_tangent,
    const at::Tensor& B_tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    int64_t itype,
    const Rule& rule);

/// Judges the loss as `eigh_vjp` does, without computing gradients. For kernels that found a reason to.
void judge_generalized_eigh(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first);

} // namespace spectralgrad::math
