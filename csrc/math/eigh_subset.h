#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

// The derivative of consecutive eigenpairs of Hermitian A (*, n, n), as differentiable tensor code. math/eigh.h has the
// derivative of all of them, and math/generalized_eigh.h that of A x = lambda B x.
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

} // namespace spectralgrad::math
