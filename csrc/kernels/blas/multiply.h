#pragma once

#include "kernels/simd/matrices.h"

#include <cstdint>

namespace spectralgrad::kernels {

template <typename scalar_t>
simd::Matrices<scalar_t> transposed(const simd::Matrices<scalar_t>& x) {
  return {x.data, x.right, x.down};
}
/// The part of `x` that begins at entry [i, j].
template <typename scalar_t>
simd::Matrices<scalar_t> part_of(const simd::Matrices<scalar_t>& x, int64_t i, int64_t j) {
  return {x.data + i * x.down + j * x.right, x.down, x.right};
}

/// Computes C = alpha A B + beta C for an m x k matrix A and a k x n matrix B, not empty; if beta is zero, C is not
/// read. Either the rows or the columns of A and B must be contiguous; C is row-major. Uses the calling thread only, if
/// it has a `SequentialBlas`. Faster than at::mm for small products, because at::mm and its views take some
/// microseconds.
template <typename scalar_t>
void multiply(
    int64_t m,
    int64_t n,
    int64_t k,
    const simd::Matrices<scalar_t>& A,
    const simd::Matrices<scalar_t>& B,
    scalar_t* C,
    int64_t row_of_C,
    scalar_t alpha = scalar_t(1),
    scalar_t beta = scalar_t(0));

} // namespace spectralgrad::kernels
