#pragma once

#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"
#include "math/pairs/inverse_gap.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

template <typename T>
struct EighJvpBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  Matrices<T> eigenvectors;
  Matrices<T> tangent;
  math::GapRule<T> rule;
  T close_gap; // fraction of the scale up to which gaps are dropped; negative if none is
  T* eigenvalues_tangent; // (count, n)
  T* eigenvectors_tangent; // (count, n, n), row by row, or column by column
  bool by_columns;
};

template <typename T>
struct EighJvpKernel {
  /// Matrices in one register.
  int lanes;
  /// Numbers of scratch memory that `jvp` needs, aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex);
  /// Matrices begin <= i < end.
  void (*jvp)(const EighJvpBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_OF_EACH_CAPABILITY(EighJvpKernel)
};

} // namespace spectralgrad::kernels::simd
