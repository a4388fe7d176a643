#pragma once

#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/simd/capability.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

template <typename T>
struct HermitianPassKernel {
  /// Replaces X (n x n, row-major) by (X + X^H)/2, for one pair of blocks. Complex numbers are pairs of real ones.
  /// Blocks begin at multiples of 16. `from_upper`: copies the upper triangle to the lower one instead, except in tiles
  /// on the diagonal.
  void (*make_hermitian)(T* X, int64_t n, bool is_complex, bool from_upper, const BlockPair&);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(HermitianPassKernel)
};

} // namespace spectralgrad::kernels::simd
