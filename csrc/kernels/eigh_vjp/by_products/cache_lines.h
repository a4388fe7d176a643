#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>

// Copies whose matrices all begin at cache lines. The round-off of BLAS depends on the alignment of its data, and
// consecutive n x n matrices have different alignments.
namespace spectralgrad::kernels {

inline constexpr int64_t cache_line = 64;

inline bool begins_lines(const at::Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % cache_line == 0 &&
      x.stride(0) * x.element_size() % cache_line == 0;
}

/// Allocates a batch of row-major matrices, each of which begins at a cache line.
inline at::Tensor empty_in_lines(int64_t count, int64_t rows, int64_t columns, const at::TensorOptions& options) {
  const auto line = cache_line / static_cast<int64_t>(options.dtype().itemsize());
  const auto matrix = (rows * columns + line - 1) / line * line;
  return at::empty({count * matrix}, options).as_strided({count, rows, columns}, {matrix, columns, 1});
}

/// Returns `x` with each matrix at the beginning of a cache line; row-major or column-major as before.
inline at::Tensor in_lines(const at::Tensor& x) {
  auto plain = x.resolve_conj();
  if (begins_lines(plain)) {
    return plain;
  }
  const bool by_rows = plain.stride(-1) == 1;
  const auto rows = plain.size(by_rows ? -2 : -1);
  const auto columns = plain.size(by_rows ? -1 : -2);
  const auto result = empty_in_lines(plain.size(0), rows, columns, plain.options());
  return (by_rows ? result : result.mT()).copy_(plain);
}

} // namespace spectralgrad::kernels
