#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad::ops {

/// Raises unless `V` (*, m, c), c <= m, and `L` (*, c) may be eigenvectors and eigenvalues, and `rtol` is finite and
/// not negative.
void check_eigenvectors(
    const char* function,
    const at::Tensor& L,
    const at::Tensor& V,
    const std::optional<double>& rtol);

} // namespace spectralgrad::ops
