#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// Replaces X (count, n, n) by (X + X^H)/2. `from_upper`: copies the upper triangle to the lower one instead, except in
/// tiles on the diagonal.
void make_hermitian(const at::Tensor& X, bool from_upper);

/// Writes X V^H, which must be Hermitian, to `result`. For large n, computes little more than half of it.
void hermitian_product(const at::Tensor& X, const at::Tensor& V, const at::Tensor& result);

} // namespace spectralgrad::kernels
