#pragma once

#include "kernels/simd/matrices.h"
#include "kernels/simd/pass_kernel.h"
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
using EighJvpKernel = PassKernel<EighJvpBatch, T>;

} // namespace spectralgrad::kernels::simd
