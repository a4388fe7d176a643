#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include <cstdint>

namespace spectralgrad::ops {

/// The columns `x` (*, m, c) among columns of zeros (*, m, n), from the index `first` on, column-major. Kernels that
/// take the cotangents of all eigenvectors need them.
inline at::Tensor with_zero_columns(const at::Tensor& x, int64_t n, int64_t first) {
  auto shape = x.sizes().vec();
  shape.back() = x.size(-2);
  shape[shape.size() - 2] = n;
  const auto result = at::zeros(shape, x.options()).mT();
  result.slice(-1, first, first + x.size(-1)).copy_(x);
  return result;
}

/// The same for the entries `x` (*, c) among zeros (*, n).
inline at::Tensor with_zero_entries(const at::Tensor& x, int64_t n, int64_t first) {
  return with_zero_columns(x.unsqueeze(-2), n, first).squeeze(-2);
}

} // namespace spectralgrad::ops
