#pragma once

#include "kernels/eigh/simd_eigh.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// Eigenvalues (*, n), ascending, and eigenvectors (*, n, n), if asked for, of CPU matrices (*, n, n) with n from 1 to
/// `simd::largest_n`, one in each lane of a SIMD register, of which one triangle, the `upper` or the lower one, is read. NaN for matrices that hold a NaN or an
/// Inf. What becomes of a matrix does not depend on the others or on the number of threads, to the last bit.
std::tuple<at::Tensor, at::Tensor, simd::EighFindings> batch_eigh(
    const at::Tensor& A,
    bool upper,
    bool compute_eigenvectors);

} // namespace spectralgrad::kernels
