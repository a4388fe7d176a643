#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::ops {

/// A tensor of the shape of x, or without entries, its last dimension 0, for a gradient that is not needed. It is never
/// a view of x: the results of an operator must not be.
inline at::Tensor empty_gradient(bool is_needed, const at::Tensor& x) {
  auto sizes = x.sym_sizes().vec();
  if (!is_needed) {
    sizes.back() = 0;
  }
  return at::empty_symint(sizes, x.options());
}

} // namespace spectralgrad::ops
