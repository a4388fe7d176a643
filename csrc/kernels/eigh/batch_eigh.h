#pragma once

#include "kernels/eigh/eigh_batch.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// Decomposes Hermitian CPU matrices, one in each lane of a SIMD register.
///
/// `A`: (*, n, n) with 1 <= n <= `simd::largest_n`; only the triangle that `upper` selects is read. Returns the
/// eigenvalues (*, n), ascending, the eigenvectors (*, n, n), undefined if not requested, and what to report.
/// Matrices that contain a NaN or an Inf get NaN. The results of a matrix do not depend on the other matrices or on
/// the number of threads, to the bit.
std::tuple<at::Tensor, at::Tensor, simd::EighFindings> batch_eigh(
    const at::Tensor& A,
    bool upper,
    bool compute_eigenvectors);

} // namespace spectralgrad::kernels
