#pragma once

#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/simd/capability.h"
#include "math/pairs/broadening.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// Divides X = V^H E V of one large matrix by eigenvalue gaps. Complex numbers are pairs of real ones.
template <typename T>
struct TangentPass {
  int64_t n;
  bool is_complex;
  bool from_upper; // whether only the upper triangle of X is set, and the diagonal blocks of 16 rows
  T* X; // row-major; overwritten
  const T* eigenvalues; // (n), ascending
  math::BroadeningRule<T> rule;
  T close_gap; // pairs with gaps up to this fraction of the largest |lambda| are dropped; negative to drop none
  T* eigenvalues_tangent; // (n)
};

template <typename T>
struct TangentPassKernel {
  /// Replaces X by F o X, and writes its diagonal to `eigenvalues_tangent`, for one pair of blocks. Unless
  /// `from_upper`, the Hermitian part of X is taken. Blocks begin at multiples of 16.
  void (*divide)(const TangentPass<T>&, const BlockPair&);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(TangentPassKernel)
};

} // namespace spectralgrad::kernels::simd
