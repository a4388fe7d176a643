#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

namespace spectralgrad::ops {

/// Returns the tangent `x` with the strides of its primal. Forward AD would copy it to these strides anyway, and
/// kernels for meta tensors can predict them.
inline at::Tensor in_layout_of(const at::Tensor& primal, const at::Tensor& x) {
  if (x.strides() == primal.strides() && x.is_non_overlapping_and_dense() && !x.is_conj()) {
    return x;
  }
  return at::empty_like(primal).copy_(x);
}

} // namespace spectralgrad::ops
