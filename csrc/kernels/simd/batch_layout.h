#pragma once

#include "kernels/simd/matrices.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

// Memory layouts of the batches that kernels read.
namespace spectralgrad::kernels {

/// A batch of matrices (*, n, n) that is contiguous, either row by row or column by column. Copies `x` only if it is
/// neither.
inline at::Tensor by_rows_or_columns(const at::Tensor& x) {
  const auto plain = x.resolve_conj().resolve_neg();
  return plain.is_contiguous() || plain.mT().is_contiguous() ? plain : plain.contiguous();
}

/// A contiguous batch of vectors.
inline at::Tensor by_rows(const at::Tensor& x) {
  return x.resolve_conj().resolve_neg().contiguous();
}

/// Removes the leading batch dimensions that only repeat `x`, such as those that vmap creates. For code that
/// broadcasts.
inline at::Tensor without_repeats(at::Tensor x, int64_t trailing_dimensions) {
  while (x.dim() > trailing_dimensions && x.size(0) > 1 && x.stride(0) == 0) {
    x = x.select(0, 0);
  }
  return x;
}

/// The matrices of a batch `x` that `by_rows_or_columns` returned, from number `matrix` on. `number_t` is the type of
/// the entries, or the real type for complex entries as pairs of real numbers.
template <typename number_t>
simd::Matrices<number_t> matrices(const at::Tensor& x, int64_t matrix = 0) {
  const auto m = x.size(-2);
  const auto n = x.size(-1);
  // Not decided by strides: those of 1 x 1 matrices are arbitrary.
  const bool by_rows = x.is_contiguous();
  const auto offset = matrix * m * n * static_cast<int64_t>(x.element_size() / sizeof(number_t));
  const auto* data = static_cast<const number_t*>(x.const_data_ptr()) + offset;
  return {data, by_rows ? n : 1, by_rows ? 1 : m};
}

/// Vector number `vector` of `x`, a contiguous batch of vectors of n numbers. Null if `x` is undefined.
template <typename scalar_t>
const scalar_t* row(const at::Tensor& x, int64_t vector, int64_t n) {
  return x.defined() ? x.const_data_ptr<scalar_t>() + vector * n : nullptr;
}

} // namespace spectralgrad::kernels
