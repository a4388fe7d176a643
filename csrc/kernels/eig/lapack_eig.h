#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// The results of an eigenvalue decomposition of general matrices (*, n, n), and what to report.
struct Eig {
  at::Tensor eigenvalues; // (*, n), complex, in no particular order
  at::Tensor eigenvectors; // (*, n, n), complex, column-major, with columns of norm 1; undefined if not requested
  int64_t not_finite; // the first matrix with a NaN or an Inf; LowestIndex::none if there is none
  int64_t not_converged; // the first matrix for which no method converged
};

/// Decomposes nonempty CPU matrices `A` (*, n, n) with LAPACK's geev, and normal ones with an algorithm of their own,
/// which gives them orthonormal eigenvectors (kernels/eig/normal_eig.h). Only if `has_geev()`.
///
/// Matrices are decomposed in parallel, each by one thread and at the same alignment. So results do not depend on the
/// place in the batch or on the number of threads, to the bit. A single matrix may use all of LAPACK's threads, unless
/// `sequential`. Matrices that contain a NaN or an Inf get NaN.
Eig lapack_eig(const at::Tensor& A, bool compute_vectors, bool sequential);

} // namespace spectralgrad::kernels
