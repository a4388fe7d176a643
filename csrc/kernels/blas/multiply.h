#pragma once

#include "kernels/simd/matrices.h"

#include <cstdint>

namespace spectralgrad::kernels {

template <typename scalar_t>
simd::Matrices<scalar_t> transposed(const simd::Matrices<scalar_t>& x) {
  return {x.data, x.right, x.down};
}
/// From entry [i, j] on.
template <typename scalar_t>
simd::Matrices<scalar_t> part_of(const simd::Matrices<scalar_t>& x, int64_t i, int64_t j) {
  return {x.data + i * x.down + j * x.right, x.down, x.right};
}

/// C = A B of an m x k matrix and a k x n one, not empty, of which either the rows or the columns lie entry after
/// entry; C row by row. On the calling thread where there is a `SequentialBlas`. Small products take little more than
/// they must: at::mm and the views that it is given take some microseconds.
template <typename scalar_t>
void multiply(
    int64_t m,
    int64_t n,
    int64_t k,
    const simd::Matrices<scalar_t>& A,
    const simd::Matrices<scalar_t>& B,
    scalar_t* C,
    int64_t row_of_C);

} // namespace spectralgrad::kernels
