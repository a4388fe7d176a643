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

/// Whether LAPACK is given the rows of a matrix for columns, and so the other triangle: then nothing need be transposed, and MKL's
/// reduction of an upper triangle takes less time than that of a lower one, if the matrix is large.
bool rows_as_columns(int64_t n, at::ScalarType dtype);

/// Whether the vjp for eigenvectors like these is best computed in lanes, rather than by matrix products.
bool vjp_in_lanes(const at::Tensor& eigenvectors);

/// The same of the jvp and of functions of a matrix, rather than by tensor code.
bool pass_in_lanes(const at::Tensor& eigenvectors);

} // namespace spectralgrad::kernels
