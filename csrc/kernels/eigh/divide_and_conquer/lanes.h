#pragma once

#include "kernels/simd/vector.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The smallest multiple of the number of lanes that is at least n.
template <typename T>
constexpr int padded(int n) {
  return (n + lane_count<T> - 1) / lane_count<T> * lane_count<T>;
}

/// Joins the lanes by the associative operation `join`, in an order that does not depend on the compiler.
template <typename T, typename Join>
SPECTRALGRAD_INLINE T join_lanes(const Vec<T>& x, const Join& join) {
  alignas(64) T lanes[lane_count<T>];
  store(lanes, x);
  for (int half = lane_count<T> / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) {
      lanes[lane] = join(lanes[lane], lanes[lane + half]);
    }
  }
  return lanes[0];
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
