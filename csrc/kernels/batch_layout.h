#pragma once

#include "kernels/lanes/matrices.h"

#include <ATen/core/Tensor.h>

// Batches of tensors as kernels read them.
namespace spectralgrad::kernels {

/// With the values that are meant in memory, row by row.
inline at::Tensor by_rows(const at::Tensor& x) {
  return x.resolve_conj().resolve_neg().contiguous();
}

/// The same of matrices in whichever order of entries they come, if it is one of the two that need no copy.
inline at::Tensor by_rows_or_columns(const at::Tensor& x) {
  const auto plain = x.resolve_conj().resolve_neg();
  return plain.is_contiguous() || plain.mT().is_contiguous() ? plain : plain.contiguous();
}

/// `x` without leading dimensions of the batch that only repeat it, as vmap makes them: for code that broadcasts.
inline at::Tensor without_repeats(at::Tensor x, int64_t trailing_dimensions) {
  while (x.dim() > trailing_dimensions && x.size(0) > 1 && x.stride(0) == 0) {
    x = x.select(0, 0);
  }
  return x;
}

/// Of a batch that `by_rows_or_columns` returned.
template <typename real_t>
lanes::Matrices<real_t> matrices(const at::Tensor& x) {
  const auto n = x.size(-1);
  // Of a 1 x 1 matrix strides say nothing.
  const bool rows = x.is_contiguous();
  return {static_cast<const real_t*>(x.const_data_ptr()), rows ? n : 1, rows ? 1 : n};
}

} // namespace spectralgrad::kernels
