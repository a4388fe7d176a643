#pragma once

#include "math/rotated_eigenpairs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::math {

/// The partners (*, rounds, n) of `rotated_eigenpairs`, for each round and eigenvalue, itself where it has none; without
/// the pairs for which the cotangents show that the function is not gauge-invariant, which is told as `checks()` says:
/// - the skew-Hermitian part of V^H gV of a closed pair is not zero, but a fraction of its magnitude: the function depends on the
///   basis inside the pair;
/// - exchanging the eigenvectors of a cluster does not exchange its g_lambda: it treats equal eigenvalues differently.
/// A dependence on phases raises `GaugeError`. All cotangents may be undefined. A constant of every differentiation.
at::Tensor judge_rotations(
    const RotatedEigenpairs& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

} // namespace spectralgrad::math
