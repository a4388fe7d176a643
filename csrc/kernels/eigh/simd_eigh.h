#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/simd/capability.h"

namespace spectralgrad::kernels::simd {

/// The kernel that is compiled once for each instruction set.
template <typename T>
struct EighKernel {
  /// The number of matrices in one register.
  int lanes;
  /// The size of the workspace that `decompose` needs, in numbers. The workspace must be aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex, bool vectors);
  /// Decomposes matrices begin <= i < end.
  void (*decompose)(const EighBatch<T>&, int64_t begin, int64_t end, T* workspace, EighFindings&);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(EighKernel)
};

} // namespace spectralgrad::kernels::simd
