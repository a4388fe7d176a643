#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Checks whether the loss has a gradient through the eigenvectors, and returns the diagonal of the inner matrix of
/// `eigh_vjp`: `eigenvalues_cotangent`, or zeros if that is undefined.
///
/// `W` = V^H gV and `magnitude` = N (*, n, n) are either both undefined or both defined; `eigenvalues_cotangent` (*, n)
/// may be undefined. `checks()`, read when the kernel runs, decides how each finding is reported.
///
/// The statistics are relative to N (math/pairs/pairs.h). So small losses are not missed and large ones raise no false
/// alarm:
/// - Phases (complex input): |Im W_ii| / N_ii. Raises `GaugeError` with torch.linalg's message.
/// - Basis inside an eigenspace: |S_ij| / N_ij over equal (degenerate) eigenvalues, S the skew-Hermitian part of W.
/// - A lost limit: for equal eigenvalues, unequal g_lambda together with W_ij != 0. Losses such as tr(M f(A)) look like
///   this. Part of their gradient is a limit 0/0, which the cotangents of eigh do not contain.
/// - Unequal g_lambda alone for equal eigenvalues: the loss is not differentiable there.
at::Tensor judge_cotangents(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& W,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues);

} // namespace spectralgrad::math
