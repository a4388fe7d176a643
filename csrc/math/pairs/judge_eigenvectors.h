#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Checks whether the loss has a gradient through the eigenvalues and eigenvectors of general matrices, and returns
/// `eigenvalues_cotangent`, or zeros if that is undefined. It is `judge_cotangents` for A = V diag(lambda) V^-1.
///
/// `S` and `magnitude` = N (*, n, n) are those of `eig_vjp` and of math/pairs/pairs.h, and either both undefined or
/// both defined; `eigenvalues_cotangent` (*, n) may be undefined. All but N are complex.
///
/// The statistics are:
/// - Phases: |Im S_ii| / N_ii. Raises `GaugeError` with torch.linalg's message.
/// - Basis inside an eigenspace: |S_ij| / N_ij over degenerate eigenvalues. It is S and not its skew-Hermitian part,
///   because neighbours of A, which need not be normal, have eigenvectors that are not orthogonal.
/// - Unequal g_lambda for degenerate eigenvalues, as in `judge_cotangents`.
/// - Defective matrices: the same three, where eigenvectors of degenerate eigenvalues are parallel.
/// - Nearly defective ones: any cotangent of the two eigenvectors, or unequal g_lambda, where round-off of A turns
///   eigenvectors so much that half of the digits of a derivative are lost (math/pairs/near_defective.h). For defective
///   matrices, too, any cotangent of the eigenvectors counts.
/// An ill-conditioned V has large round-off, so entries also have to exceed a multiple of eps*kappa*N.
at::Tensor judge_eigenvectors(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& S,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& inverse,
    const at::Tensor& A);

} // namespace spectralgrad::math
