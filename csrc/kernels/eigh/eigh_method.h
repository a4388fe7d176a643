#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// Ways to decompose Hermitian matrices.
enum class EighMethod {
  /// kernels/eigh/batch_eigh.h: one matrix in each lane of a SIMD register.
  lanes,
  /// kernels/eigh/lapack_eigh.h: one matrix on each thread.
  lapack,
  /// torch.linalg.eigh's: one matrix at a time, on all threads; and for all that is not on the CPU.
  torch,
};

/// The fastest for matrices like these.
EighMethod eigh_method(const at::Tensor& A, bool compute_eigenvectors);

/// Whether the vjp for eigenvectors like these is best computed in lanes, rather than by matrix products.
bool vjp_in_lanes(const at::Tensor& eigenvectors);

/// The same of the jvp and of functions of a matrix, rather than by tensor code.
bool pass_in_lanes(const at::Tensor& eigenvectors);

} // namespace spectralgrad::kernels
