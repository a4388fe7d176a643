#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// Computes the eigenvalues (*, n) and eigenvectors (*, n, n), complex, of general matrices `A` (*, n, n), below
/// autograd: the forward of `eig` and `eigvals`. Without `compute_eigenvectors`, the second result is undefined. `A`
/// was checked. `method` overrides the choice of method: "lapack" (kernels/eig/lapack_eig.h) or "torch".
///
/// A non-finite matrix raises `c10::LinAlgError`, which names `function`. Under `Checks::ignore` its results are NaN,
/// and other matrices of the batch are not affected.
std::tuple<at::Tensor, at::Tensor> general_decomposition(
    const char* function,
    const at::Tensor& A,
    bool compute_eigenvectors,
    std::optional<std::string_view> method = std::nullopt);

/// Returns tensors with the shapes, dtypes and strides of these results, for the Meta dispatch key. Eigenvectors are
/// column-major.
std::tuple<at::Tensor, at::Tensor> general_decomposition_meta(const at::Tensor& A);

} // namespace spectralgrad::ops
