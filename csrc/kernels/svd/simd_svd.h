#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/simd/capability.h"
#include "kernels/svd/svd_batch.h"

namespace spectralgrad::kernels::simd {

/// The kernel that is compiled once for each instruction set.
template <typename T>
struct SvdKernel {
  /// The number of matrices in one register.
  int lanes;
  /// The size of the workspace that `decompose` needs, in numbers. The workspace must be aligned to 64 bytes.
  int64_t (*workspace)(int rows, int columns, bool is_complex);
  /// Decomposes matrices begin <= i < end.
  void (*decompose)(const SvdBatch<T>&, int64_t begin, int64_t end, T* workspace, EighFindings&);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(SvdKernel)
};

} // namespace spectralgrad::kernels::simd
