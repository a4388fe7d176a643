#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// The one-sided derivatives (*, n) of the ordered eigenvalues of A + t E at t = 0, for t > 0: ascending eigenvalue i
/// of A changes by t times entry i.
///
/// `A` and `E` (*, n, n) are Hermitian; only their lower triangles are read. Their batches broadcast. float32, float64,
/// complex64 or complex128, both of one dtype; the result is real.
///
/// Equal eigenvalues have no gradient, but these derivatives exist for every E: they are the eigenvalues of V_c^H E
/// V_c, in ascending order, for the eigenvectors V_c of each cluster of equal eigenvalues. Eigenvalues are equal if
/// neighbours are at most `rtol`*max|lambda| apart, by default 8 eps. The derivatives for t < 0 are
/// -eigvalsh_directional(A, -E).
///
/// Differentiable in E wherever the result is, and in A with constant clusters.
///
/// Lancaster (1964), "On eigenvalues of matrices dependent on a parameter", Numerische Mathematik 6.
///
/// Raises `c10::LinAlgError` if a matrix has an entry that is not finite, `c10::Error` if shapes or dtypes do not fit,
/// and `c10::ValueError` if rtol is negative or not finite.
///
/// ```
/// auto A = torch::eye(2, torch::kFloat64); // both eigenvalues are 1
/// auto E = torch::tensor({{0.0, 1.0}, {1.0, 0.0}}, torch::kFloat64);
/// auto slopes = spectralgrad::eigvalsh_directional(A, E); // -1 and 1
/// ```
SPECTRALGRAD_API at::Tensor eigvalsh_directional(
    const at::Tensor& A,
    const at::Tensor& E,
    std::optional<double> rtol = std::nullopt);

} // namespace spectralgrad
