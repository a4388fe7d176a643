#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad {

/// Polar decomposition: A = U P for `side` "right", A = P U for "left". It is that of scipy.linalg.polar.
///
/// `A` is (*, m, n), float32, float64, complex64 or complex128. With A = W diag(sigma) V^H and k = min(m, n), returns
/// U = W V^H (*, m, n), with orthonormal columns or rows, and P, Hermitian and positive semidefinite: (*, n, n) on the
/// right side, (*, m, m) on the left.
///
/// Derivatives of every order are exact at degenerate (repeated) singular values, such as those of a rotation. U is
/// unique if A has full rank. Otherwise a loss that depends on the choice has no gradient; its backward warns, or
/// raises `GaugeError` (see `checks.h`). At a singular value 0, P has no derivative in some directions, as abs at 0.
///
/// Raises `c10::Error` if A has fewer than 2 dimensions, `c10::ValueError` for another side,
/// `c10::NotImplementedError` for another dtype or layout, and `c10::LinAlgError` if A is not finite.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// auto [U, P] = spectralgrad::polar(A);
/// U[0][1].backward(); // 1/2 and -1/2 at (0, 1) and (1, 0)
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> polar(const at::Tensor& A, std::string_view side = "right");

} // namespace spectralgrad
