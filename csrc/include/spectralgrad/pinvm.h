#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

// Functions of a singular symmetric or Hermitian matrix that use its range only. Eigenvalues with
// |lambda| <= rtol*max|lambda| count as 0. The default rtol, n*eps, is that of torch::linalg_pinv.
//
// Derivatives are those among matrices of the same rank, and exact at degenerate eigenvalues: Golub and Pereyra (1973),
// "The Differentiation of Pseudo-Inverses and Nonlinear Least Squares Problems Whose Variables Separate". If the cutoff
// separates eigenvalues that are equal up to round-off, round-off decides the rank. The functions then warn, or raise
// under `Checks::raise`.
//
// `A` is (*, n, n), float32, float64, complex64 or complex128; only its lower triangle is read. Errors are those of
// `eigh`, and `c10::ValueError` if rtol is negative or not finite. A fourth derivative in A
// raises `c10::Error`, for `pseudo_logdet` a fifth.
namespace spectralgrad {

/// The pseudo-inverse (*, n, n), exactly Hermitian: 1/lambda on the range, 0 on the null space.
///
/// ```
/// auto F = torch::randn({3, 6}, torch::kFloat64).requires_grad_();
/// auto P = spectralgrad::pinvm(F.mT().matmul(F)); // of rank 3
/// ```
SPECTRALGRAD_API at::Tensor pinvm(const at::Tensor& A, std::optional<double> rtol = std::nullopt);

/// log|pdet A|, (*), real: the sum of log|lambda| over the eigenvalues that do not count as 0, so 0 for a zero matrix.
/// The gradient is `pinvm(A)`.
SPECTRALGRAD_API at::Tensor pseudo_logdet(const at::Tensor& A, std::optional<double> rtol = std::nullopt);

} // namespace spectralgrad
