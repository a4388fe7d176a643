#pragma once

#include "kernels/generalized_eigh/reduced_problem.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// `reduce_problem` with LAPACK's potrf and sygst, for contiguous matrices of any n >= 1. Only if `has_sygst()`.
void lapack_reduce(const at::Tensor& A, const at::Tensor& B, bool upper, int64_t itype, const ReducedProblem& result);

/// `restore_eigenvectors` for the factor that `lapack_reduce` wrote.
at::Tensor lapack_restore(const at::Tensor& factor, const at::Tensor& Y, int64_t itype);

} // namespace spectralgrad::kernels
