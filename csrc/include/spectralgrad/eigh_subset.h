#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// The eigenvalues with the indices start <= i < stop, in ascending order, and their eigenvectors, of Hermitian A. The
/// derivative is that of `eigh` followed by slicing, at the cost of the kept part.
///
/// `A` is (*, n, n), float32, float64, complex64 or complex128. Only the triangle named by `UPLO` ("L" or "U") is read.
/// Returns eigenvalues (*, k), real and ascending, and eigenvectors (*, n, k), k = stop - start. Negative indices count
/// from n. Without `start` or `stop`, the part begins at 0 or ends at n.
///
/// With `B`, Hermitian, positive definite and of the dtype of A, (*, n, n): of the generalised problem A x = lambda B
/// x. Eigenvectors are orthonormal in the sense V^H B V = 1. The batches of A and B are broadcast. The derivative in B
/// is exact at equal eigenvalues, too.
///
/// start and stop may separate equal eigenvalues. Then the derivative of a loss that depends on which of their
/// eigenvectors are kept gives a warning (see `checks.h`). `spectral_projector` raises an error there.
///
/// `rule` and the losses that have a gradient are those of `eigh`. Formula and sources are in
/// `csrc/math/eigh_subset.h`.
///
/// Raises the errors of `eigh`; `c10::ValueError` unless 0 <= start <= stop <= n; `c10::LinAlgError` if B is not
/// positive definite; `c10::Error` if it does not fit A.
///
/// ```
/// auto A = torch::diag(torch::tensor({1.0, 1.0, 3.0}, torch::kFloat64)).requires_grad_();
/// auto [L, V] = spectralgrad::eigh_subset(A, 0, 2);
/// V.matmul(V.mT())[0][2].backward(); // of a projector, exact at the repeated eigenvalue
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> eigh_subset(
    const at::Tensor& A,
    std::optional<int64_t> start,
    std::optional<int64_t> stop,
    std::string_view UPLO = "L",
    const std::optional<at::Tensor>& B = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
