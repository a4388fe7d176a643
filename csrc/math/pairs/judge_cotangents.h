#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

namespace spectralgrad::math {

/// Checks whether the loss has a gradient through the eigenvectors, and returns the diagonal of the inner matrix of
/// `eigh_vjp`: `eigenvalues_cotangent`, or zeros if that is undefined.
///
/// `W` = V^H gV and `magnitude` = N (*, n, n) are either both undefined or both defined; `eigenvalues_cotangent` (*, n)
/// may be undefined. If the loss sees only c eigenpairs, from the index `first` on, these have c columns or entries,
/// and so has the result. One of them is defined. `checks()`, read when the kernel runs, decides how each finding is
/// reported.
///
/// The statistics are relative to N (math/pairs/pairs.h). So small losses are not missed and large ones raise no false
/// alarm:
/// - Phases (complex input): |Im W_ii| / N_ii. Raises `GaugeError` with torch.linalg's message.
/// - Basis inside an eigenspace: |S_ij| / N_ij over equal (degenerate) eigenvalues, S the skew-Hermitian part of W.
/// - A lost limit: for equal eigenvalues, unequal g_lambda together with W_ij != 0. Losses such as tr(M f(A)) look like
///   this. Part of their gradient is a limit 0/0, which the cotangents of eigh do not contain.
/// - Unequal g_lambda alone for equal eigenvalues: the loss is not differentiable there.
/// - Any of the last three for an eigenvalue that the loss sees and one that it does not: a cut through a level.
///
/// `amplification` (*) is that of a generalized problem (math/pairs/amplification.h); undefined means 1.
at::Tensor judge_cotangents(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& W,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues,
    const c10::SymInt& first = 0,
    const at::Tensor& amplification = {});

} // namespace spectralgrad::math
