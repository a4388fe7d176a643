#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/svd/svd_batch.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// The results of a singular value decomposition of (*, m, n), k = min(m, n), and what to report.
struct Svd {
  at::Tensor U; // (*, m, k), column-major; undefined if not requested
  at::Tensor singular_values; // (*, k), descending
  at::Tensor Vh; // (*, k, n), column-major; undefined if not requested
  simd::EighFindings findings;
};

/// Whether `svd_in_lanes` supports m x n matrices.
bool fits_svd_in_lanes(int64_t m, int64_t n);

/// Decomposes CPU matrices `A` (*, m, n), one in each lane of a SIMD register.
///
/// Matrices that contain a NaN or an Inf get NaN. The results of a matrix do not depend on the other matrices or on the
/// number of threads, to the bit.
Svd svd_in_lanes(const at::Tensor& A, bool compute_vectors);

} // namespace spectralgrad::kernels
