#pragma once

#include "kernels/simd/matrices.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// A cheap preselection of the matrices that `math::judge` has to examine. See math/pairs/judge_cotangents.h.
template <typename T>
struct Suspicion {
  /// For each matrix, whether to examine it; null if no matrix is to be judged.
  bool* found;
  T gauge; // threshold of the statistics, as a fraction of N
  T same_eigenvalue; // gap up to which eigenvalues count as equal, as a fraction of max|lambda|
};

/// A batch of decompositions with their cotangents.
template <typename T>
struct CotangentBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  const T* eigenvalues_cotangent; // (count, n), or null
  Matrices<T> eigenvectors;
  Matrices<T> eigenvectors_cotangent; // data null if absent
  math::BroadeningRule<T> rule;
  bool gates;
  math::NoiseGate<T> gate; // only read if `gates`
  Suspicion<T> suspicion;
};

} // namespace spectralgrad::kernels::simd
