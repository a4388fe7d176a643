#pragma once

#include "kernels/svd/batch_svd.h"

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// Does the same as `svd_in_lanes` for nonempty matrices of any size, with LAPACK's gesdd. With `full_matrices`, U is
/// (*, m, m) and Vh (*, n, n).
///
/// The batch is decomposed in parallel, each matrix by one thread and at the same alignment. So its results do not
/// depend on its place in the batch or on the number of threads, to the bit. A matrix for which LAPACK does not
/// converge gets undefined results and is reported in the findings.
Svd lapack_svd(const at::Tensor& A, bool compute_vectors, bool full_matrices);

} // namespace spectralgrad::kernels
