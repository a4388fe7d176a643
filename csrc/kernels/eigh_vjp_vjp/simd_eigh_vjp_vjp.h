#pragma once

#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

template <typename T>
struct EighVjpVjpBatch : CotangentBatch<T> {
  Matrices<T> cotangent; // of gA
  T close_gap; // the largest gap of pairs that are not resolved, in units of max|lambda|; negative if there is none
  // Results, row-major. The results for gV and for the eigenvalues are null without gV.
  T* of_eigenvalues_cotangent; // (count, n)
  T* of_eigenvectors_cotangent; // (count, n, n)
  T* of_eigenvalues; // (count, n)
  T* of_eigenvectors; // (count, n, n)
};

template <typename T>
using EighVjpVjpKernel = PassKernel<EighVjpVjpBatch, T>;

} // namespace spectralgrad::kernels::simd
