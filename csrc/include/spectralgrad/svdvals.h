#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace spectralgrad {

/// Singular values (*, min(m, n)), real and descending, of matrices `A` (*, m, n): the second result of `svd`, with the
/// same arguments and errors. Can replace `at::linalg_svdvals`. Singular vectors are computed only if A is
/// differentiated, because the gradient is U diag(g_sigma) V^H. At a singular value 0 that is a subgradient, as it is
/// of |x| at 0.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// spectralgrad::svdvals(A).sum().backward(); // the nuclear norm; A.grad() is U V^H, the identity
/// ```
SPECTRALGRAD_API at::Tensor svdvals(
    const at::Tensor& A,
    std::optional<std::string_view> driver = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

/// Like `svdvals`, but writes the result to an existing tensor, as `svd_out` does. Not differentiable.
SPECTRALGRAD_API at::Tensor& svdvals_out(
    at::Tensor& S,
    const at::Tensor& A,
    std::optional<std::string_view> driver = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
