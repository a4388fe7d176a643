#pragma once

#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/simd/pass_kernel.h"

namespace spectralgrad::kernels::simd {

/// The formulas and the bases P and R are those of math/generalized_eigh.h.
template <typename T>
struct GeneralizedVjpBatch : CotangentBatch<T> {
  Matrices<T> dual; // U = V^-H; data null for type 1
  const T* B_diagonal; // (count, n)
  bool P_is_dual; // type 2
  bool R_is_dual; // type 3
  T of_eigenvalues; // the signs of gB's two parts
  T of_norm;
  T* A; // gA and gB (count, n, n), row-major, Hermitian; null if not needed
  T* B;
};

template <typename T>
using GeneralizedVjpKernel = PassKernel<GeneralizedVjpBatch, T>;

} // namespace spectralgrad::kernels::simd
