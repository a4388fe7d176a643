#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The argument `str? method` of an operator's schema: "lanes", "single", "lapack" or "torch"
/// (kernels/eigh/method_choice.h). No value means the fastest one for the input.
using MethodName = std::optional<std::string_view>;

/// Computes the eigenvalues (*, n), ascending, and eigenvectors (*, n, n) of A, below autograd: the forward of `eigh`
/// and `eigvalsh`. Without `compute_eigenvectors`, the second result has no meaning. A non-finite matrix raises
/// `c10::LinAlgError`. Under `Checks::ignore` its results are NaN, and other matrices of the batch are not affected.
std::tuple<at::Tensor, at::Tensor> hermitian_decomposition(
    const char* function,
    const at::Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors,
    MethodName method = std::nullopt);

/// Returns tensors with the shapes, dtypes and strides of these results, for the Meta dispatch key. Eigenvectors are
/// column-major.
std::tuple<at::Tensor, at::Tensor> hermitian_decomposition_meta(const at::Tensor& A);

} // namespace spectralgrad::ops
