#pragma once

#include "kernels/eigh/simd_eigh.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// Whether LibTorch's LAPACK can be called.
bool lapack_is_there();

/// Whether LAPACK is given the rows of a matrix for columns, and so the other triangle: then nothing need be transposed, and MKL's
/// reduction of an upper triangle takes less time than that of a lower one, if the matrix is large.
bool rows_as_columns(int64_t n, at::ScalarType dtype);

/// As `batch_eigh`, of matrices of any size from 1 on, by LAPACK's syevd and heevd: the batch in parallel, each matrix with one
/// thread and at the same alignment, so that its result, to the bit, does not depend on its place in the batch nor on the number
/// of threads.
std::tuple<at::Tensor, at::Tensor, simd::EighFindings> lapack_eigh(
    const at::Tensor& A,
    bool upper,
    bool compute_eigenvectors);

} // namespace spectralgrad::kernels
