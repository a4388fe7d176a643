#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// Which singular vectors are computed: none, the first min(m, n), or all.
enum class SingularVectors { none, thin, full };

/// Returns U, sigma and V^H of `A` (*, m, n), U and V^H column-major as torch.linalg.svd returns them; U and V^H are
/// undefined for `none`. `A` was checked. `method` overrides the choice of method: "lanes", "lapack" or "torch".
/// Findings, such as a NaN in a matrix, raise `c10::LinAlgError`, which names `function`; under `checks("ignore")` the
/// results for such a matrix are NaN, and those for the other matrices are not disturbed.
std::tuple<at::Tensor, at::Tensor, at::Tensor> singular_value_decomposition(
    const char* function,
    const at::Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver,
    std::optional<std::string_view> method = std::nullopt);

/// Empty results of the same shapes and layouts.
std::tuple<at::Tensor, at::Tensor, at::Tensor> singular_value_decomposition_meta(
    const at::Tensor& A,
    SingularVectors vectors);

} // namespace spectralgrad::ops
