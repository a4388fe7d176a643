#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Reports a loss that depends on a polar factor W which is not unique. Returns zeros (*, n), to be added to the
/// gradient so that no compiler removes the call.
///
/// `W` and its cotangent are (*, m, n), and P = W^H A has the real `values` p (*, n) and the `vectors` V (*, n, n).
/// The columns i and j of W V may turn into each other if p_i + p_j is round-off. The loss depends on it if the entry
/// (i, j) of T = (W V)^H gW V is more than round-off. If the determinant of W is prescribed (`proper`), W only turns,
/// so the skew-Hermitian part of T counts. Otherwise the columns with p_i = 0 are arbitrary, and all of T counts, as
/// well as the part of gW V outside the range of W.
at::Tensor judge_polar_factor(
    const at::Tensor& W_cotangent,
    const at::Tensor& W,
    const at::Tensor& values,
    const at::Tensor& vectors,
    bool proper);

} // namespace spectralgrad::math
