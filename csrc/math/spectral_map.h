#pragma once

#include "math/rotated_eigenpairs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

// Derivatives of A's eigenpairs and of the rotated ones, as rotated_eigenpairs.h explains them.
namespace spectralgrad::math {

/// gA from the cotangents of all four results, some of which may be undefined. Where the function turns out to depend on the
/// basis of a pair, `judge_rotations` reports it, and the pair keeps what `eigh` gives.
at::Tensor rotated_eigenpairs_vjp(
    const RotatedEigenpairs& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

/// Tangents of the first three results. The eigenvectors of the last are constant.
RotatedEigenpairs rotated_eigenpairs_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

} // namespace spectralgrad::math
