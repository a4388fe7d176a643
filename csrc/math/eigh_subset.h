#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <utility>

// The derivative of consecutive eigenpairs of Hermitian A (*, n, n), as differentiable tensor code. math/eigh.h has the
// derivative of all of them.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, n, n), Hermitian, for a loss of c eigenpairs from the index `first` on. Its tables have
/// n x c entries, and its products cost O(n^2 c).
///
/// `eigenvalues` (*, n) and `eigenvectors` V (*, n, n) are the whole decomposition; V_c are the kept columns and V_d
/// the dropped ones. With W = V^H gV_c (n, c), the kept rows of S are the skew-Hermitian part of the kept rows of W,
/// and its dropped rows are W/2, because only half of that skew-Hermitian matrix is nonzero. Then gA is the Hermitian
/// part of
///     V_c [ diag(g_lambda) + F o S ]_cc V_c^H + 2 V_d [ F o S ]_dc V_c^H.
/// The second term is the complement term: Francuz, Schuch, Vanhecke (2023), arXiv:2311.11894.
///
/// Each cotangent may be undefined, which means zero. If both are, so is the result.
at::Tensor eigh_subset_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule);

/// Reverse mode of the generalised problem A x = lambda B x with V^H B V = 1: returns (gA, gB). With a = V^H dA V and
/// b = V^H dB V,
///     d_lambda = real diag(a - lambda b),    dV = V ( F o (a - m o b) - b/2 ),    m_ij = (lambda_i + lambda_j)/2,
/// also for equal eigenvalues: the first term is a rotation, and the second keeps V normalised. So gA is as above, and
/// gB is minus the Hermitian part of
///     V ( m o D + W/2 ) V_c^H,
/// where D is the matrix between V and V_c^H in gA. A and B enter W only through V, so the accuracy does not depend on
/// the condition of B. Either cotangent may be undefined, but not both.
std::pair<at::Tensor, at::Tensor> generalized_subset_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule);

/// Forward mode of the generalised problem, for all eigenpairs: returns (d_lambda, dV). Either tangent may be
/// undefined, but not both.
std::pair<at::Tensor, at::Tensor> generalized_jvp(
    const at::Tensor& A_tangent,
    const at::Tensor& B_tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const Rule& rule);

} // namespace spectralgrad::math
