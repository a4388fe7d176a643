#pragma once

#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"
#include "math/closed_forms.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// D_0 or D_1 of math/spectral_function.h.
template <typename T>
struct SpectralFunctionBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  Matrices<T> eigenvectors;
  Matrices<T> direction; // or null: of D_0
  math::Form form;
  math::Exponent exponent;
  const T* values; // (count, n), of D_0 where the form is `given`
  const T* differences; // (count, n, n), symmetric, of D_1 where it is
  bool singular_at_zero; // f is, in its derivatives
  T zero; // fraction of max|lambda| up to which an eigenvalue then is 0
  /// Then, of each matrix, whether among what is left out, because a difference is infinite, is more than the fraction `gauge` of
  /// the direction; or null.
  bool* lost;
  T gauge;
  T* result; // (count, n, n), row by row, Hermitian
};

template <typename T>
struct SpectralFunctionKernel {
  /// Matrices in one register.
  int lanes;
  /// Numbers of scratch memory that `apply` needs, aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex);
  /// Matrices begin <= i < end.
  void (*apply)(const SpectralFunctionBatch<T>&, int64_t begin, int64_t end, T* workspace);

  SPECTRALGRAD_OF_EACH_CAPABILITY(SpectralFunctionKernel)
};

} // namespace spectralgrad::kernels::simd
