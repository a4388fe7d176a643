#pragma once

#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

template <typename T>
struct EighVjpJvpBatch : CotangentBatch<T> {
  // Tangents, null or with null data if absent.
  const T* eigenvalues_cotangent_tangent; // (count, n)
  Matrices<T> eigenvectors_cotangent_tangent;
  const T* eigenvalues_tangent; // (count, n)
  Matrices<T> eigenvectors_tangent;
  T close_gap; // the largest gap of pairs that are not resolved, in units of max|lambda|; negative if there is none
  T* result; // (count, n, n), row-major, Hermitian
};

template <typename T>
using EighVjpJvpKernel = PassKernel<EighVjpJvpBatch, T>;

} // namespace spectralgrad::kernels::simd
