#pragma once

#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"
#include "math/pairs/broadening.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

template <typename T>
struct EighJvpBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  Matrices<T> eigenvectors;
  Matrices<T> tangent;
  math::BroadeningRule<T> rule;
  T close_gap; // pairs with gaps up to this fraction of the scale are dropped; negative to drop none
  T* eigenvalues_tangent; // (count, n)
  T* eigenvectors_tangent; // (count, n, n)
  bool by_columns; // whether `eigenvectors_tangent` is column-major rather than row-major
};

template <typename T>
struct EighJvpKernel {
  /// The number of matrices in one register.
  int lanes;
  /// The size of the workspace that `jvp` needs, in numbers. The workspace must be aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex);
  /// Computes the tangents of the results for matrices begin <= i < end.
  void (*jvp)(const EighJvpBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(EighJvpKernel)
};

} // namespace spectralgrad::kernels::simd
