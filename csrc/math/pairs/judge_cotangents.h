#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// The diagonal of the inner matrix of `eigh_vjp`, after a look at whether the loss has a gradient at all.
///
/// Statistics relative to the magnitude N that entries were summed from, never absolute, so that small losses are not
/// missed and large ones raise no false alarm:
/// - phases (complex): |Im W_ii| / N_ii; torch.linalg's words, raised as `GaugeError`;
/// - basis inside an eigenspace: |S_ij| / N_ij over equal eigenvalues, S the skew-Hermitian part of W;
/// - a lost limit: over equal eigenvalues, unequal g_lambda together with W_ij != 0, the mark of tr(M f(A)), of whose
///   gradient that part is a limit 0/0 that a backward of eigh does not see;
/// - g_lambda alone unequal there: an eigenvalue that is not differentiable.
/// What is done about each is decided by `checks()` when the kernel runs.
///
/// `W` = V^H gV and `magnitude` (*, n, n) may be undefined together, `eigenvalues_cotangent` (*, n) alone.
at::Tensor judge_cotangents(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& W,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues);

} // namespace spectralgrad::math
