#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

// The only place that divides by a gap.
//
// For eigenvalues lambda (*, n), ascending, a matrix is divided entrywise by d_ij = lambda_j - lambda_i, as far as the
// rule allows: F o S with F_ij = 1/d_ij broadened, gated or cut off. The diagonal of the result is zero.
//
// Textbook F_ij = 1/d_ij: Magnus (1985); Giles (2008), "An extended collection of matrix derivative results". The
// Lorentzian d/(d^2 + eta^2) is the principal value of 1/d broadened to a half-width eta; its relative bias is exactly
// eta^2/(d^2 + eta^2). Both are formed from x = d/s, s = max|lambda|, so that they commute with scaling the matrix.
// s, masks and widths are constants of the differentiation.
namespace spectralgrad::derivatives {

/// Reverse mode: F o S for S (*, n, n), the skew-Hermitian part of V^H gV.
///
/// At a degeneracy S_ij = d_ij g_ij with g smooth if the loss does not depend on the basis inside an eigenspace, so S_ij
/// is rounding noise there, of at most about eps*N_ij; F would amplify it without bound. A rule that gates keeps only
/// entries above its noise level; what is dropped costs no more than the noise it would have carried. The gate removes
/// values, not derivatives: S may vanish because the loss is stationary. Pairs so close that they are not resolvable stay
/// out of the differentiation of F altogether.
///
/// `magnitude` (*, n, n), real: N = |V|^T |gV| + (|V|^T |gV|)^T, what the entries of S were summed from. Only read by rules
/// that gate.
at::Tensor divide_cotangent_by_gaps(
    const at::Tensor& S,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues,
    const Rule& rule);

/// Forward mode: F o X for X = V^H dA V (*, n, n). Nothing in X tells noise from signal, so a rule that gates drops the
/// pairs whose gap is rounding.
at::Tensor divide_tangent_by_gaps(const at::Tensor& X, const at::Tensor& eigenvalues, const Rule& rule);

} // namespace spectralgrad::derivatives
