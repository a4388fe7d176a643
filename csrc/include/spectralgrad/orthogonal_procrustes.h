#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad {

/// The orthogonal (complex: unitary) matrix R that minimizes the Frobenius norm of A R - B: Schoenemann (1966), "A
/// generalized solution of the orthogonal Procrustes problem". It is that of scipy.linalg.orthogonal_procrustes.
///
/// `A` and `B` are (*, m, n), of one dtype: float32, float64, complex64 or complex128; their batches broadcast. Returns
/// R (*, n, n), the polar factor of A^H B, and the scale tr(R^H A^H B) (*), real, which is the sum of the singular
/// values of A^H B. With `proper`, R is the best matrix of determinant +1, a rotation; A and B are real then.
///
/// Derivatives of every order are exact at degenerate (repeated) singular values. R is unique if A^H B has full rank
/// or, with `proper`, if its two smallest singular values have a sum that is not 0; the last one counts with the sign
/// of the determinant. Otherwise a loss that depends on the choice has no gradient; its backward warns, or raises
/// `GaugeError`.
///
/// Raises the errors of `polar`, and `c10::ValueError` if the shapes or dtypes of A and B differ, or for complex
/// matrices with `proper`.
///
/// ```
/// auto A = torch::randn({10, 3}, torch::kFloat64);
/// auto [R, scale] = spectralgrad::orthogonal_procrustes(A, A.flip(-1), /*proper=*/true);
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> orthogonal_procrustes(
    const at::Tensor& A,
    const at::Tensor& B,
    bool proper = false);

} // namespace spectralgrad
