#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// Eigenvalue decomposition A = V diag(lambda) V^H of symmetric or Hermitian matrices, differentiable also where
/// eigenvalues meet (degenerate eigenvalues). It can replace `at::linalg_eigh`: it takes the same arguments, and a
/// rule.
///
/// `A` is (*, n, n), float32, float64, complex64 or complex128. Only the triangle named by `UPLO`, "L" or "U", is read.
/// Returns lambda (*, n), real and ascending, and V (*, n, n), with orthonormal columns, of A's dtype. With
/// `Rule::split`, eigenvalues that are closer than its width are moved apart.
///
/// Each eigenvector is defined up to a phase, and those of degenerate eigenvalues up to a unitary matrix. A loss that
/// depends on this choice has no gradient (see `checks.h`). The gradient is exactly Hermitian. For second derivatives
/// through degenerate eigenvalues use the functions in `funm.h` or `Rule::split({}, 2)`. Formula and sources are in
/// `csrc/math/eigh.h`.
///
/// Raises `c10::Error` if A is not a batch of square matrices or UPLO is neither letter, `c10::NotImplementedError` for
/// another dtype or layout, `c10::LinAlgError` if A is not finite or the algorithm does not converge, and `GaugeError`
/// in the backward of a complex loss that depends on phases.
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

/// Like `eigh`, but writes the results to existing tensors. They must have the dtypes and devices of the results and
/// are resized as torch does. Not differentiable.
SPECTRALGRAD_API std::tuple<at::Tensor&, at::Tensor&> eigh_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    std::string_view UPLO = "L",
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
