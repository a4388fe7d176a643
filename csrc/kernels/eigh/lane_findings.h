#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/simd/exchange.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

SPECTRALGRAD_INLINE void lower(int64_t& lowest, int64_t index) {
  lowest = index < lowest ? index : lowest;
}

/// Lowers `lowest` to the index of the first matrix whose lane is set in `mask`.
template <typename T>
void note(const Mask<T>& mask, const Members& members, int64_t& lowest) {
  const int unset = mask.zero_mask();
  for (int lane = 0; lane < members.count; ++lane) {
    if ((unset >> lane & 1) == 0) {
      lower(lowest, members.first + lane);
      return;
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
