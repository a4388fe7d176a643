#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/simd/exchange.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

SPECTRALGRAD_INLINE void lower(int64_t& lowest, int64_t index) {
  lowest = index < lowest ? index : lowest;
}

/// Lowers `lowest` to the index of the first matrix whose lane is set in `mask`, if any is. Lanes that repeat the last
/// matrix come after it.
template <typename T>
SPECTRALGRAD_INLINE void note(const Mask<T>& mask, const Members& members, int64_t& lowest) {
  if (any<T>(mask)) {
    lower(lowest, members.first + __builtin_ctz(~mask.zero_mask()));
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
