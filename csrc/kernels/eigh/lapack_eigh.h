#pragma once

#include "kernels/eigh/eigh_batch.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// Whether a row-major matrix should be passed to LAPACK as if it were column-major, with the other triangle. This
/// saves the transposition, and MKL reduces the upper triangle of a large matrix faster than the lower one.
bool rows_as_columns(int64_t n, at::ScalarType dtype);

/// Does the same as `batch_eigh` for any n >= 1, with LAPACK's syevd and heevd.
///
/// The batch is decomposed in parallel, each matrix by one thread and at the same alignment. So its results do not
/// depend on its place in the batch or on the number of threads, to the bit. A matrix for which LAPACK does not
/// converge gets undefined results and is reported in the findings.
std::tuple<at::Tensor, at::Tensor, simd::EighFindings> lapack_eigh(
    const at::Tensor& A,
    bool upper,
    bool compute_eigenvectors);

} // namespace spectralgrad::kernels
