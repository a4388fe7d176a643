#pragma once

#include "kernels/simd/capability.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// A pass over a batch of small matrices (kernels/simd/pass.h). `Batch<T>` has its arguments and results; `n` and
/// `is_complex` are among them.
template <template <typename> class Batch, typename T>
struct PassKernel {
  /// The number of matrices processed together, one in each SIMD lane.
  int lanes;
  /// The size of the workspace of `run`, in numbers of type T. It must be aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex);
  /// Computes the results for the matrices begin <= i < end.
  void (*run)(const Batch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(PassKernel)
};

} // namespace spectralgrad::kernels::simd
