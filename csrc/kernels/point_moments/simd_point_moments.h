#pragma once

#include "kernels/point_moments/point_moments_batch.h"
#include "kernels/simd/capability.h"

#include <cstdint>

// Moments of point clouds (math/point_moments.h).
namespace spectralgrad::kernels::simd {

/// The kernel that is compiled once for each instruction set.
template <typename T>
struct PointMomentsKernel {
  /// The number of pairs of clouds in one register.
  int lanes;
  /// The size of the workspace in numbers. It must be aligned to 64 bytes.
  int64_t (*workspace)(int points, int dimension);
  /// Both compute the results for the pairs begin <= i < end.
  void (*moments)(const PointMomentsBatch<T>&, int64_t begin, int64_t end, T* workspace);
  void (*vjp)(const PointMomentsVjpBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(PointMomentsKernel)
};

} // namespace spectralgrad::kernels::simd
