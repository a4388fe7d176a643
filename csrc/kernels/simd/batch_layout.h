#pragma once

#include "kernels/simd/matrices.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

// How kernels read the batches that they are given.
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

/// `x` without leading dimensions of the batch that only repeat it, as vmap makes them: for code that broadcasts.
inline at::Tensor without_repeats(at::Tensor x, int64_t trailing_dimensions) {
  while (x.dim() > trailing_dimensions && x.size(0) > 1 && x.stride(0) == 0) {
    x = x.select(0, 0);
  }
  return x;
}

/// Of a batch that `by_rows_or_columns` returned, from one of its matrices on; complex numbers as such, or as pairs of real ones.
template <typename number_t>
simd::Matrices<number_t> matrices(const at::Tensor& x, int64_t matrix = 0) {
  const auto n = x.size(-1);
  // Of a 1 x 1 matrix strides say nothing.
  const bool by_rows = x.is_contiguous();
  const auto offset = matrix * n * n * static_cast<int64_t>(x.element_size() / sizeof(number_t));
  const auto* data = static_cast<const number_t*>(x.const_data_ptr()) + offset;
  return {data, by_rows ? n : 1, by_rows ? 1 : n};
}

/// Of a contiguous batch of vectors of n numbers; null where there is none.
template <typename scalar_t>
const scalar_t* row(const at::Tensor& x, int64_t vector, int64_t n) {
  return x.defined() ? x.const_data_ptr<scalar_t>() + vector * n : nullptr;
}

} // namespace spectralgrad::kernels
