#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// Computes the eigenvalues (*, n), ascending, and eigenvectors (*, n, n) of the generalized problem of type `itype`
/// (math/generalized_eigh.h), below autograd: a Cholesky factor of B reduces it to A's problem in an orthonormal basis.
///
/// A and B (*, n, n) have one shape and dtype; only the triangle `UPLO` of both is read. A matrix that is not finite
/// raises `c10::LinAlgError`, and so does a B that is not positive definite. Under `Checks::ignore` the results of such
/// a matrix are NaN, and other matrices of the batch are not affected.
std::tuple<at::Tensor, at::Tensor> generalized_decomposition(
    const char* function,
    const at::Tensor& A,
    const at::Tensor& B,
    std::string_view UPLO,
    int64_t itype);

/// The diagonal (*, n) of Hermitian B, real. A copy, which derivatives keep (math/pairs/amplification.h).
at::Tensor real_diagonal(const at::Tensor& B);

} // namespace spectralgrad::ops
