#pragma once

#include "kernels/generalized_eigh/reduced_problem.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// Whether there is a kernel for matrices such as `A`: on the CPU, not empty, and small, or LibTorch contains LAPACK.
bool supports_reduction(const at::Tensor& A);

/// Reduces A and B (*, n, n) of one shape and dtype; only the triangle that `upper` selects is read. Small matrices are
/// reduced in SIMD lanes, larger ones by LAPACK, one on each thread.
ReducedProblem reduce_problem(const at::Tensor& A, const at::Tensor& B, bool upper, int64_t itype);

/// Returns the eigenvectors V (*, n, n), column-major, from those of the reduced matrix: L^-H Y for types 1 and 2, L Y
/// for type 3. May overwrite Y.
at::Tensor restore_eigenvectors(const at::Tensor& factor, const at::Tensor& Y, int64_t itype);

} // namespace spectralgrad::kernels
