#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// Eigenvalue decomposition A = V diag(lambda) V^H of symmetric or Hermitian matrices, differentiable where eigenvalues
/// meet. Stands in for `at::linalg_eigh`, argument by argument.
///
/// `A` (*, n, n), float32, float64, complex64 or complex128; only the triangle named by `UPLO`, "L" or "U", is read.
/// Returns lambda (*, n), real, ascending (in the units of A), and V (*, n, n), orthonormal columns, of A's dtype. With
/// `Rule::split` the eigenvalues are moved apart where they are closer than its width.
///
/// Eigenvectors are defined up to a phase each, and up to a unitary matrix in each eigenspace: a loss that depends on that
/// choice has no gradient (see `checks.h`). The gradient is exactly Hermitian; the formula and its sources are in
/// `csrc/math/eigh.h`. A second derivative through a repeated eigenvalue wants `funm.h` or `Rule::split({}, 2)`.
///
/// Raises `c10::Error` where A is not a batch of square matrices or UPLO is neither letter, `c10::NotImplementedError` for
/// another dtype, `c10::LinAlgError` where A is not finite or no convergence is reached, and `GaugeError` in the backward
/// of a complex loss that depends on phases.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// auto [eigenvalues, eigenvectors] = spectralgrad::eigh(A);
/// (eigenvalues.sum() + eigenvectors.square().sum()).backward(); // A.grad() is the identity; torch's is NaN
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> eigh(
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

/// The same into tensors that exist: resized as torch resizes, of exactly the result's dtypes. No derivatives.
SPECTRALGRAD_API std::tuple<at::Tensor&, at::Tensor&> eigh_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
