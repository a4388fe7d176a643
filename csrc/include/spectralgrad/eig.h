#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace spectralgrad {

/// Eigenvalue decomposition A = V diag(lambda) V^-1 of general matrices, differentiable also where eigenvalues are
/// equal (degenerate). It can replace `at::linalg_eig`: it takes the same argument, and a rule.
///
/// `A` is (*, n, n), float32, float64, complex64 or complex128. Returns the eigenvalues (*, n), in no particular order,
/// and eigenvectors V (*, n, n), whose columns have norm 1. Both are complex, also for real A. On the CPU, a matrix
/// that is normal up to round-off (symmetric, skew-symmetric, a rotation, a permutation) gets a unitary V.
///
/// Each eigenvector is defined up to a phase. Those of a repeated eigenvalue are an arbitrary basis. A loss that
/// depends on these choices has no gradient, and is reported (see `checks.h`). Losses of Riesz projectors V_c (V^-1)_c
/// onto whole eigenspaces, and symmetric functions of the eigenvalues, have one. Eigenvalues of a defective matrix (a
/// Jordan block) have none, and near one they lose digits: both are reported. `Rule::split` moves no eigenvalues here.
/// Formula and sources are in `csrc/math/eig.h`.
///
/// Raises `c10::Error` if A is not square, `c10::NotImplementedError` for another dtype or layout, `c10::LinAlgError`
/// if A is not finite or the algorithm does not converge, and `GaugeError` in the backward of a loss that depends on
/// phases.
///
/// ```
/// auto A = torch::tensor({{0.0, 1.0}, {4.0, 0.0}}, torch::kFloat64).requires_grad_();
/// auto [L, V] = spectralgrad::eig(A); // 2 and -2
/// torch::real(L.square().sum()).backward(); // tr(A^2), so that A.grad() is 2 A^T
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> eig(
    const at::Tensor& A,
    const std::optional<Rule>& rule = std::nullopt);

/// Like `eig`, but writes the results to existing tensors. They must have the dtypes and devices of the results and are
/// resized as torch does. Not differentiable.
SPECTRALGRAD_API std::tuple<at::Tensor&, at::Tensor&> eig_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
