#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// The methods to decompose Hermitian matrices.
enum class EighMethod {
  /// kernels/eigh/batch_eigh.h: one matrix in each lane of a SIMD register.
  lanes,
  /// kernels/eigh/lapack_eigh.h: one matrix on each thread.
  lapack,
  /// torch.linalg.eigh: one matrix at a time, on all threads. The only method for devices other than the CPU.
  torch,
};

/// The fastest method for matrices `A` (*, n, n); under deterministic algorithms, one that does not depend on the
/// size of the batch if possible.
EighMethod eigh_method(const at::Tensor& A, bool compute_eigenvectors);

/// Whether the vjp for `eigenvectors` (*, n, n) should be computed in SIMD lanes rather than by matrix products.
bool vjp_in_lanes(const at::Tensor& eigenvectors);

/// Whether the jvp, or a function of a matrix, should be computed in SIMD lanes rather than by tensor code.
bool pass_in_lanes(const at::Tensor& eigenvectors);

} // namespace spectralgrad::kernels
