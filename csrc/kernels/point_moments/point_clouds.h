#pragma once

namespace spectralgrad::kernels::simd {

/// A batch of pairs of clouds. The scalars of one pair are adjacent.
template <typename T>
struct PointClouds {
  int points;
  int dimension;
  const T* source; // (count, points, dimension)
  const T* target;
  const T* weights; // (count, points); null if all are 1
};

} // namespace spectralgrad::kernels::simd
