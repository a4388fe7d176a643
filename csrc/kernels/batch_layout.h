#pragma once

#include "kernels/lanes/matrices.h"

#include <ATen/core/Tensor.h>

// How the matrices and vectors of a batch lie in memory, for kernels.
namespace spectralgrad::kernels {

/// A batch of matrices in whichever order of entries it comes, if it is one of the two that need no copy.
inline at::Tensor by_rows_or_columns(const at::Tensor& x) {
  const auto plain = x.resolve_conj().resolve_neg();
  return plain.is_contiguous() || plain.mT().is_contiguous() ? plain : plain.contiguous();
}

/// A batch of vectors, one after the other.
inline at::Tensor by_rows(const at::Tensor& x) {
  return x.resolve_conj().resolve_neg().contiguous();
}

/// Of a batch that `by_rows_or_columns` returned, from one of its matrices on.
template <typename real_t>
lanes::Matrices<real_t> matrices(const at::Tensor& x, int64_t matrix = 0) {
  const auto n = x.size(-1);
  // Of a 1 x 1 matrix strides say nothing.
  const bool by_rows = x.is_contiguous();
  const auto* data = static_cast<const real_t*>(x.const_data_ptr()) + matrix * n * n * (x.is_complex() ? 2 : 1);
  return {data, by_rows ? n : 1, by_rows ? 1 : n};
}

/// Of a batch of vectors of n numbers, one after the other; null where there is none.
template <typename real_t>
const real_t* row(const at::Tensor& x, int64_t matrix, int64_t n) {
  return x.defined() ? x.const_data_ptr<real_t>() + matrix * n : nullptr;
}

} // namespace spectralgrad::kernels
