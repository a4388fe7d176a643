#pragma once

#include "kernels/simd/matrices.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

/// A batch of square matrices A = U diag(sigma) V^H, and their polar factors W = U V^H.
template <typename T>
struct PolarFactorBatch {
  int n;
  bool is_complex;
  bool proper; // det W must be +1
  Matrices<T> U;
  Matrices<T> Vh;
  const T* singular_values; // (count, n), descending
  const T* noise; // (count); null for none
  T* W; // (count, n, n)
  T* trace; // (count)
  T* values; // (count, n)
  T* V; // (count, n, n)
};

/// The vjp of W and of the trace of P = W^H A = V diag(values) V^H.
template <typename T>
struct PolarVjpBatch {
  int n;
  bool is_complex;
  bool proper; // W is real and only turns, so values of 0 leave it unique
  T close; // sums of values up to this fraction of the largest value are round-off
  Matrices<T> W;
  Matrices<T> V;
  const T* values; // (count, n)
  Matrices<T> W_cotangent; // may be null
  const T* trace_cotangent; // (count); may be null
  T* gradient; // (count, n, n)
  bool* vanishes; // (count), whether a sum of values is round-off
};

template <typename T>
using PolarFactorKernel = PassKernel<PolarFactorBatch, T>;
template <typename T>
using PolarVjpKernel = PassKernel<PolarVjpBatch, T>;

} // namespace spectralgrad::kernels::simd
