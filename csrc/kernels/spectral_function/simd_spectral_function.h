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
  bool singular_at_zero; // f or a derivative of it
  bool is_infinite; // so is the first derivative
  bool
      trace_is_exempt; // a part of the direction inside the kernel that is proportional to the identity is not reported
  T zero; // fraction of max|lambda| up to which an eigenvalue is 0 where `singular_at_zero`
  /// For each matrix whether more than the fraction `gauge` of the direction is inside the kernel, where the derivative is
  /// infinite; or null.
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
