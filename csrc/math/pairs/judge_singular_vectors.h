#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Checks whether the loss has a gradient through the singular vectors, and returns `singular_values_cotangent`, or
/// zeros if that is undefined. It is `judge_cotangents` for A = U diag(sigma) V^H.
///
/// `W_together` = U^H gU + V^H gV, `W_against` = U^H gU - V^H gV and `magnitude`, the sum of both N (*, k, k), are
/// either all undefined or all defined. `outer` (*, k) may be undefined; it is the largest entry of each column of gU
/// or gV outside the range of U or V that is no round-off compared to N, else 0. `singular_values` (*, k) are
/// descending.
///
/// If the loss is one of the first r singular values and vectors only, its tables are (*, k, r), and the cotangent of
/// the singular values, `outer` and the result are (*, r). A dropped vector counts as one with a cotangent of 0. So a
/// pair of a kept and a dropped one in a repeated singular value is judged as any other pair.
///
/// The statistics are those of `judge_cotangents`, for three matrices:
/// - `W_together` inside a repeated singular value, and on the diagonal (complex input): u_i and v_i turn together.
/// - `W_against` between singular values 0: the left and the right null space turn separately.
/// - `outer` in the columns of singular values 0, which turn against the rest of the null space.
at::Tensor judge_singular_vectors(
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& W_together,
    const at::Tensor& W_against,
    const at::Tensor& magnitude,
    const at::Tensor& outer,
    const at::Tensor& singular_values);

} // namespace spectralgrad::math
