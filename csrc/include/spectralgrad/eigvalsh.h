#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace spectralgrad {

/// Eigenvalues (*, n), real, ascending, of symmetric or Hermitian matrices `A` (*, n, n): the first half of `eigh`, whose
/// arguments and errors it shares. Stands in for `at::linalg_eigvalsh`. Eigenvectors are computed only where a derivative
/// is asked for: g_A = V diag(g_lambda) V^H.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// spectralgrad::eigvalsh(A).exp().sum().backward(); // A.grad() is exp(1) times the identity
/// ```
SPECTRALGRAD_API at::Tensor eigvalsh(
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

/// The same into a tensor that exists. No derivatives.
SPECTRALGRAD_API at::Tensor& eigvalsh_out(
    at::Tensor& eigenvalues,
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
