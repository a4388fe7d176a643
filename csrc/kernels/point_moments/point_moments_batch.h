#pragma once

#include "kernels/point_moments/point_clouds.h"

namespace spectralgrad::kernels::simd {

/// The memory from which the kernel reads clouds, and to which it writes their moments (math/point_moments.h).
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

} // namespace spectralgrad::kernels::simd
