#pragma once

#include "kernels/eigh/eigh_batch.h"

#include <ATen/core/Tensor.h>

#include <tuple>

namespace spectralgrad::kernels {

/// Does the same as `batch_eigh` for real matrices with eigenvectors and any n >= 1, by divide and conquer with SIMD
/// instructions inside each matrix. Each matrix is decomposed by one thread and at the same alignment, so its results
/// do not depend on its place in the batch or on the number of threads, to the bit.
std::tuple<at::Tensor, at::Tensor, simd::EighFindings> single_eigh(const at::Tensor& A, bool upper);

} // namespace spectralgrad::kernels
