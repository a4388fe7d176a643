#pragma once

#include "kernels/simd/vector.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The smallest multiple of the number of lanes that is at least n.
template <typename T>
constexpr int padded(int n) {
  return (n + lane_count<T> - 1) / lane_count<T> * lane_count<T>;
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
