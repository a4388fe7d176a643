#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// Eigenvalues (*, n), complex, in no particular order, of general matrices `A` (*, n, n): the first result of `eig`,
/// with the same arguments and errors. Can replace `at::linalg_eigvals`. Eigenvectors are computed only if A is
/// differentiated, because the gradient of an eigenvalue is the outer product of its left and its right eigenvector.
///
/// ```
/// auto A = torch::tensor({{0.0, 1.0}, {4.0, 0.0}}, torch::kFloat64).requires_grad_();
/// torch::real(spectralgrad::eigvals(A).square().sum()).backward(); // tr(A^2), so that A.grad() is 2 A^T
/// ```
SPECTRALGRAD_API at::Tensor eigvals(const at::Tensor& A, const std::optional<Rule>& rule = std::nullopt);

/// Like `eigvals`, but writes the result to an existing tensor, as `eig_out` does. Not differentiable.
SPECTRALGRAD_API at::Tensor& eigvals_out(
    at::Tensor& eigenvalues,
    const at::Tensor& A,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
