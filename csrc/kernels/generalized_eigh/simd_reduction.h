#pragma once

#include "kernels/simd/pass_kernel.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// The reduction of generalized problems to standard ones by the Cholesky factor L of B = L L^H.
template <typename T>
struct ReductionBatch {
  int n;
  bool is_complex;
  const T* A; // (count, n, n), contiguous; only one triangle is read
  const T* B; // likewise
  bool upper; // selects the triangle
  bool multiplies; // C = L^H A L (types 2 and 3) instead of L^-1 A L^-H (type 1)
  T* factor; // L (count, n, n), row-major, with zeros above the diagonal
  T* reduced; // C (count, n, n), row-major
  /// For each matrix: 0, the order of B's first minor that is not positive, or `not_finite`.
  int32_t* minors;
  static constexpr int32_t not_finite = -1;
};

template <typename T>
using ReductionKernel = PassKernel<ReductionBatch, T>;

} // namespace spectralgrad::kernels::simd
