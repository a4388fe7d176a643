#pragma once

#include "kernels/simd/capability.h"
#include "kernels/svd_vjp/svd_vjp_batch.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// The kernel that is compiled once for each instruction set.
template <typename T>
struct SvdVjpKernel {
  /// The number of matrices in one register.
  int lanes;
  /// The size of the workspace of `run`, in numbers. It must be aligned to 64 bytes.
  int64_t (*workspace)(int rows, int columns, bool is_complex);
  /// Computes the results for the matrices begin <= i < end. Returns whether the loss of any of them may have no
  /// gradient. This is a preselection: `math::judge` has to decide.
  bool (*run)(const SvdVjpBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(SvdVjpKernel)
};

} // namespace spectralgrad::kernels::simd
