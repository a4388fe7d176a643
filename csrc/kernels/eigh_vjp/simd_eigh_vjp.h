#pragma once

#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

template <typename T>
struct EighVjpBatch : CotangentBatch<T> {
  T* result; // (count, n, n), row-major, Hermitian
};

template <typename T>
using EighVjpKernel = PassKernel<EighVjpBatch, T>;

} // namespace spectralgrad::kernels::simd
