#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// The derivatives of the loss at matrices A = V diag(lambda) V^-1, and what `eig_vjp` makes of them. Either cotangent
/// may be undefined; without gV, S to D are undefined, too. Complex, if not said otherwise.
struct GeneralCotangents {
  at::Tensor eigenvalues; // g_lambda (*, n)
  at::Tensor eigenvectors; // gV (*, n, n)
  at::Tensor S; // (*, n, n)
  at::Tensor magnitude; // N (*, n, n) of math/pairs/pairs.h, real
  at::Tensor noise; // `cotangent_noise` (*, n), real
  at::Tensor divided; // D = conj(F) o S (*, n, n)
  at::Tensor gradient; // of the loss in A (*, n, n), of the dtype of A
};

/// Checks whether the loss has a gradient through the eigenvalues and eigenvectors of general matrices. It is
/// `judge_cotangents` for A = V diag(lambda) V^-1. Returns zeros, to be added to the gradient (*, n, n), so that no
/// compiler removes the check.
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
/// - Gradients that are round-off of gV, in half of their digits or more: `RoundOff` in math/pairs/judge_general.h.
/// An ill-conditioned V has large round-off, so entries also have to exceed a multiple of eps*kappa*N.
at::Tensor judge_eigenvectors(
    const GeneralCotangents& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& inverse,
    const at::Tensor& A);

} // namespace spectralgrad::math
