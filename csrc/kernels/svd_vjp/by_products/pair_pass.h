#pragma once

#include "kernels/simd/capability.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// The divisions by sums and differences of singular values of one matrix B = L diag(sigma) R^H, between the products
/// of large matrices. All matrices are row-major, with complex numbers as pairs of real ones.
template <typename T>
struct SingularPairPass {
  int64_t n; // of the singular values
  bool is_complex;
  const T* values; // sigma (n), descending
  const T* values_cotangent; // (n), or null
  math::BroadeningRule<T> rule;
  bool gates; // whether the rule has a noise gate; `gate` to `floor` are not read otherwise
  math::NoiseGate<T> gate;
  const T* norms; // (n), upper bounds of the norms of column i of gL plus those of gR
  const T* clusters; // (n), the cluster number of each singular value
  T around_mirror; // the number of the cluster that includes sigma and -sigma, or -1
  T around_zero; // the number of the cluster that includes 0, or -1
  T floor; // round-off of the whole matrix: inside clusters, entries up to this are dropped
  /// Told the index of each entry for which bounds of N do not decide, if N is not given.
  void (*undecided)(void* context, int64_t at);
  void* context;
};

/// W_L = L^H gL or W_R = R^H gR (n, n), and its adjoint. Null if there is no cotangent.
template <typename T>
struct InnerCotangent {
  const T* W;
  const T* adjoint;
};

template <typename T>
struct SingularPairKernel {
  /// Writes diag(g_sigma) + F^- o S_together + F^+ o S_against to `result` (n, n). `magnitude` (n, n) is N, or null.
  /// Returns whether N is needed and null: bounds of it do not decide for some entry, and the result is not valid. Only
  /// these entries of N are needed then.
  bool (*divide_inner)(
      const SingularPairPass<T>&,
      const InnerCotangent<T>& left,
      const InnerCotangent<T>& right,
      const T* magnitude,
      T* result);
  /// Writes F^0 o (gL - L W_L) to `result` (rows, n). `projected` is L W_L. The rest is as for `divide_inner`.
  bool (*divide_outer)(
      const SingularPairPass<T>&,
      int64_t rows,
      const T* cotangent,
      const T* projected,
      const T* left_norms, // (n), upper bounds of the norms of gL's columns
      const T* magnitude,
      T* result);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(SingularPairKernel)
};

} // namespace spectralgrad::kernels::simd
