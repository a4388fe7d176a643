#pragma once

#include "math/rotated_eigenpairs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

// Derivatives of the eigenpairs of A and of the rotated ones. rotated_eigenpairs.h explains the method.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, n, n) from the cotangents of all four results of `rotated_eigenpairs`, each of which
/// may be undefined. If the function depends on the basis of a pair, `judge_rotations` reports it, and the gradient of
/// plain `eigh` is used for this pair.
at::Tensor rotated_eigenpairs_vjp(
    const RotatedEigenpairs& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

/// Forward mode: returns the tangents of the four results. The fourth is undefined, because rotated eigenvectors are
/// constant.
RotatedEigenpairs rotated_eigenpairs_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

} // namespace spectralgrad::math
