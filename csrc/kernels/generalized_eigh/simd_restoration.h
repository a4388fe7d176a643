#pragma once

#include "kernels/simd/matrices.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

/// The eigenvectors of generalized problems, from those of the reduced ones.
template <typename T>
struct RestorationBatch {
  int n;
  bool is_complex;
  const T* factor; // of `ReductionBatch` (simd_reduction.h)
  Matrices<T> vectors; // Y (count, n, n)
  bool multiplies; // V = L Y (type 3) instead of L^-H Y (types 1 and 2)
  T* result; // V (count, n, n), one in each row
};

template <typename T>
using RestorationKernel = PassKernel<RestorationBatch, T>;

} // namespace spectralgrad::kernels::simd
