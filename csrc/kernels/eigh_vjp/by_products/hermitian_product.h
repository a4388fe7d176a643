#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// Replaces X (count, n, n) by (X + X^H)/2. `from_upper`: copies the upper triangle to the lower one instead, except in
/// tiles on the diagonal.
void make_hermitian(const at::Tensor& X, bool from_upper);

/// Computing only one triangle of a product saves time from this n on (docs/measurements.md).
inline constexpr int64_t least_for_upper_product = 256;

/// Writes the upper triangle of X V^H, and little more, to `result`.
void upper_product(const at::Tensor& X, const at::Tensor& V, const at::Tensor& result);

/// Writes X V^H, which must be Hermitian, to `result`. For large n, computes one triangle of it.
void hermitian_product(const at::Tensor& X, const at::Tensor& V, const at::Tensor& result);

} // namespace spectralgrad::kernels
