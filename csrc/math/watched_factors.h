#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::math {

/// Returns the factors of A = U diag(sigma) V^H unchanged, as (U, sigma, V). Differentiating the results warns if
/// singular values are degenerate. The derivative formulas use these results, so that second derivatives warn.
std::tuple<at::Tensor, at::Tensor, at::Tensor> watched_factors(
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& V);

} // namespace spectralgrad::math
