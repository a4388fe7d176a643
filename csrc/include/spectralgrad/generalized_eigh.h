#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// The generalized eigenvalue problem of Hermitian A and positive definite B, differentiable in both, also where
/// eigenvalues meet (degenerate eigenvalues). The types are those of LAPACK's sygvd and `scipy.linalg.eigh`:
///
/// | itype | problem | normalization |
/// |---|---|---|
/// | 1 | A v = lambda B v | V^H B V = I |
/// | 2 | A B v = lambda v | V^H B V = I |
/// | 3 | B A v = lambda v | V^H B^-1 V = I |
///
/// `A` and `B` are (*, n, n), of one dtype: float32, float64, complex64 or complex128. Their batches broadcast. Only
/// the triangle named by `UPLO`, "L" or "U", is read of each. Returns lambda (*, n), real and ascending, and V
/// (*, n, n), of A's dtype. `rule` is that of `eigh`.
///
/// Each eigenvector is defined up to a phase, and those of degenerate eigenvalues up to a unitary matrix. A loss that
/// depends on this choice has no gradient (see `checks.h`). The gradients are exactly Hermitian. Formula and sources
/// are in `csrc/math/generalized_eigh.h`.
///
/// Raises the errors of `eigh`, `c10::ValueError` if `itype` is another number or A and B differ in size or dtype, and
/// `c10::LinAlgError` if B is not positive definite; it names the first such matrix of the batch and its minor. Under
/// `Checks::ignore` that matrix gives NaN.
///
/// ```
/// auto K = torch::diag(torch::tensor({4.0, 9.0}, torch::kFloat64)).requires_grad_(); // stiffness
/// auto M = torch::eye(2, torch::kFloat64).requires_grad_(); // mass
/// auto [squares, modes] = spectralgrad::generalized_eigh(K, M);
/// squares.sum().backward(); // K.grad() is V V^T, M.grad() is -V diag(squares) V^T
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> generalized_eigh(
    const at::Tensor& A,
    const at::Tensor& B,
    std::string_view UPLO = "L",
    int64_t itype = 1,
    const std::optional<Rule>& rule = std::nullopt);

/// Like `generalized_eigh`, but writes the results to existing tensors. They must have the dtypes and devices of the
/// results and are resized as torch does. Not differentiable.
SPECTRALGRAD_API std::tuple<at::Tensor&, at::Tensor&> generalized_eigh_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    const at::Tensor& B,
    std::string_view UPLO = "L",
    int64_t itype = 1,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
