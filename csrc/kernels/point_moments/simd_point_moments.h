#pragma once

#include "kernels/point_moments/point_clouds.h"
#include "kernels/simd/capability.h"

#include <cstdint>

// Moments of point clouds (math/point_moments.h).
namespace spectralgrad::kernels::simd {

template <typename T>
struct PointMomentsBatch {
  PointClouds<T> clouds;
  T round_off; // of a coordinate, relative to the largest one
  T* source_center;
  T* target_center;
  T* covariance;
  T* variance;
  T* noise;
  T* units;
  bool* bad; // (count), whether a number is not finite or a weight is negative
};

/// Null cotangents are zero, and null gradients are not needed.
template <typename T>
struct PointMomentsVjpBatch {
  PointClouds<T> clouds;
  const T* source_center;
  const T* target_center;
  const T* units;
  const T* source_center_cotangent;
  const T* target_center_cotangent;
  const T* covariance_cotangent;
  const T* variance_cotangent;
  T* source_gradient;
  T* target_gradient;
  T* weights_gradient;
};

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
