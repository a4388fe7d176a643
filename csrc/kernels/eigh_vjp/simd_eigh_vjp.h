#pragma once

#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"
#include "math/pairs/inverse_gap.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// What math/pairs/judge_cotangents.h looks for, for a first look.
template <typename T>
struct Suspicion {
  /// Of each matrix, whether to look closer; null for no look at all.
  bool* found;
  T gauge; // a fraction of N
  T same_eigenvalue; // a fraction of max|lambda|
};

template <typename T>
struct EighVjpBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  const T* eigenvalues_cotangent; // (count, n), or null
  Matrices<T> eigenvectors;
  Matrices<T> eigenvectors_cotangent; // or null
  math::GapRule<T> rule;
  bool gates;
  math::NoiseGate<T> gate; // of a rule that gates
  Suspicion<T> suspicion;
  T* result; // (count, n, n), row by row, Hermitian
};

template <typename T>
struct EighVjpKernel {
  /// Matrices in one register.
  int lanes;
  /// Numbers of scratch memory that `vjp` needs, aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex);
  /// Matrices begin <= i < end.
  void (*vjp)(const EighVjpBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_OF_EACH_CAPABILITY(EighVjpKernel)
};

} // namespace spectralgrad::kernels::simd
