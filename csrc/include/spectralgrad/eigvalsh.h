#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace spectralgrad {

/// Eigenvalues (*, n), real and ascending, of symmetric or Hermitian matrices `A` (*, n, n): the first result of
/// `eigh`, with the same arguments and errors. Can replace `at::linalg_eigvalsh`. Eigenvectors are computed only if A
/// is differentiated, because the gradient is V diag(g_lambda) V^H.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// spectralgrad::eigvalsh(A).exp().sum().backward(); // A.grad() is exp(1) times the identity
/// ```
SPECTRALGRAD_API at::Tensor eigvalsh(
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

/// Like `eigvalsh`, but writes the result to an existing tensor, as `eigh_out` does. Not differentiable.
SPECTRALGRAD_API at::Tensor& eigvalsh_out(
    at::Tensor& eigenvalues,
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
