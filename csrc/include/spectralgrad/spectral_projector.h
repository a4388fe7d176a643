#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad {

/// The orthogonal projector P = sum_{start <= i < stop} v_i v_i^H onto eigenvectors of symmetric or Hermitian matrices,
/// counted in ascending order of their eigenvalues. Exact to third derivatives whatever eigenvalues meet on either
/// side of the cut: dP = V (K o V^H dA V) V^H with K_ij = 1/(lambda_i - lambda_j) across it, signed, and 0 else (Kato
/// (1966), "Perturbation Theory for Linear Operators", II.2).
///
/// `A` (*, n, n), float32, float64, complex64 or complex128; only the lower triangle is read. Returns (*, n, n),
/// Hermitian, of A's dtype. A fourth derivative raises `c10::Error`. Errors are those of `eigh`; `c10::ValueError`
/// unless 0 <= start <= stop <= n, and `c10::LinAlgError` where start or stop cuts a repeated eigenvalue, so that there
/// is no such projector (under `Checks::ignore` that matrix of a batch is NaN).
///
/// ```
/// auto A = torch::diag(torch::tensor({1., 1., 3., 3.})).requires_grad_();
/// spectralgrad::spectral_projector(A, 0, 2)[0][2].backward(); // A.grad() is -1/4 at (0, 2) and (2, 0)
/// ```
SPECTRALGRAD_API at::Tensor spectral_projector(const at::Tensor& A, int64_t start, int64_t stop);

} // namespace spectralgrad
