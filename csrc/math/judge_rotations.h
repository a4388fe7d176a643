#pragma once

#include "math/rotated_eigenpairs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::math {

/// Returns the partner of each eigenvalue in each round of `rotated_eigenpairs`, (*, rounds, n), as `partners` does,
/// without the pairs for which the cotangents show that the function is not gauge-invariant. An eigenvalue without a
/// partner is its own. A pair is removed if
/// - its entry of the skew-Hermitian part of V^H gV is not what its gap explains (zero for equal eigenvalues): the
///   function depends on the basis inside the pair;
/// - permuting the eigenpairs of a cluster does not permute g_lambda: the function treats equal eigenvalues
///   differently.
/// A removed pair is reported depending on `checks()`, except where a kink of the function inside the cluster explains
/// its entry. A dependence on phases raises `GaugeError`. Each cotangent may be undefined. The result is not
/// differentiated.
at::Tensor judge_rotations(
    const RotatedEigenpairs& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

} // namespace spectralgrad::math
