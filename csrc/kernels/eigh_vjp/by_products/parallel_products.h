#pragma once

#include "kernels/blas/sequential_blas.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/simd/matrices.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

// Products of matrices with few columns, each on one thread. LibTorch's parallel ones spend half of the time waiting
// for other threads.
namespace spectralgrad::kernels {

/// Calls f(matrix, part) for each of `parts` parts of each matrix, in parallel. BLAS calls in `f` use one thread.
template <typename F>
void for_each_product(int64_t count, int64_t parts, const F& f) {
  for_each_part(count, parts, entries_per_task + 1, [&](int64_t matrix, int64_t begin, int64_t end) {
    const SequentialBlas sequential;
    for (auto part = begin; part < end; ++part) {
      f(matrix, part);
    }
  });
}

/// The rows of one task in a batch of `count` n x n matrices: few enough that every thread gets a task, but at least
/// 16, and no more than a product needs to be fast.
inline int64_t rows_per_task(int64_t count, int64_t n, int64_t threads) {
  const auto share = (count * n + threads - 1) / threads;
  return std::clamp<int64_t>((share + 15) / 16 * 16, 16, n < 512 ? 128 : 256);
}

/// Calls f(matrix, begin, end) for blocks of rows begin <= i < end of each n x n matrix, in parallel.
template <typename F>
void for_each_row_block(int64_t count, int64_t n, const F& f) {
  // Results may depend on the blocks.
  const auto rows = rows_per_task(count, n, is_deterministic() ? 1 : at::get_num_threads());
  for_each_product(count, (n + rows - 1) / rows, [&](int64_t matrix, int64_t block) {
    f(matrix, block * rows, std::min(n, (block + 1) * rows));
  });
}

template <typename scalar_t>
simd::Matrices<scalar_t> strided_matrix(const at::Tensor& x, int64_t matrix) {
  return {x.const_data_ptr<scalar_t>() + matrix * x.stride(0), x.stride(1), x.stride(2)};
}

/// Returns the conjugate of `x`, stored explicitly, because BLAS can conjugate only matrices that it also transposes.
inline at::Tensor conjugate_copy(const at::Tensor& x) {
  return x.is_complex() ? x.conj().resolve_conj() : x;
}

} // namespace spectralgrad::kernels
