#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// A way to decompose as an argument of an operator's schema, `str? method`: "lanes", "lapack" or "torch"
/// (kernels/eigh/eigh_method.h); none means the fastest.
using MethodName = std::optional<std::string_view>;

/// The forward of `eigh` and `eigvalsh`, below autograd; the eigenvectors are undefined where they are not asked for. A matrix
/// that is not finite raises `c10::LinAlgError`; under `Checks::ignore` it gives NaN, and the others of its batch what they give
/// alone.
std::tuple<at::Tensor, at::Tensor> hermitian_decomposition(
    const char* function,
    const at::Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors,
    MethodName method = std::nullopt);

/// Its shapes, dtypes and strides without data: eigenvectors are stored column by column.
std::tuple<at::Tensor, at::Tensor> hermitian_decomposition_meta(const at::Tensor& A);

} // namespace spectralgrad::ops
