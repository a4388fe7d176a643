#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

// Functions of the range of a singular symmetric or Hermitian matrix. Eigenvalues with |lambda| <= rtol*max|lambda| count as 0.
// The default rtol, n*eps, is that of torch::linalg_pinv.
//
// Derivatives are those among matrices of the same rank, and exact where eigenvalues meet: Golub and Pereyra (1973), "The
// Differentiation of Pseudo-Inverses and Nonlinear Least Squares Problems Whose Variables Separate". Where the cutoff separates
// eigenvalues that round-off cannot tell apart, the rank is a matter of chance: the functions warn, and raise under
// `Checks::raise`.
//
// `A` is (*, n, n), float32, float64, complex64 or complex128; only its lower triangle is read. Errors are those of `eigh`, and
// `c10::ValueError` where rtol is negative or not finite. A fourth derivative in A raises `c10::Error`, a fifth of
// `pseudo_logdet`.
namespace spectralgrad {

/// The pseudo-inverse (*, n, n), exactly Hermitian: 1/lambda on the range, 0 on the kernel.
///
/// ```
/// auto F = torch::randn({3, 6}, torch::kFloat64).requires_grad_();
/// auto P = spectralgrad::pinvm(F.mT().matmul(F)); // of rank 3
/// ```
SPECTRALGRAD_API at::Tensor pinvm(const at::Tensor& A, std::optional<double> rtol = std::nullopt);

/// log|pdet A|, (*), real: the sum of log|lambda| over the eigenvalues that do not count as 0. It is 0 for a zero matrix. The
/// gradient is `pinvm(A)`.
SPECTRALGRAD_API at::Tensor pseudo_logdet(const at::Tensor& A, std::optional<double> rtol = std::nullopt);

} // namespace spectralgrad
