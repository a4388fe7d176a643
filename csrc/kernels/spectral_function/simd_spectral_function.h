#pragma once

#include "kernels/simd/matrices.h"
#include "kernels/simd/pass_kernel.h"
#include "math/closed_forms.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// The arguments of D_0 or D_1 of math/spectral_function.h for a batch.
template <typename T>
struct SpectralFunctionBatch {
  int n;
  bool is_complex;
  const T* eigenvalues; // (count, n), ascending
  Matrices<T> eigenvectors;
  Matrices<T> direction; // null for D_0
  math::Form form;
  math::Exponent exponent;
  const T* values; // (count, n), f(lambda); for D_0 if the form is `given`
  const T* differences; // (count, n, n), symmetric, f[lambda_i, lambda_j]; for D_1 if the form is `given`
  bool singular_at_zero; // whether f or one of its derivatives is infinite at 0
  bool is_infinite; // whether the first derivative is
  /// Whether a part of the direction inside the null space is not reported if it is proportional to the identity.
  bool trace_is_exempt;
  T zero; // if `singular_at_zero`: the fraction of max|lambda| up to which an eigenvalue counts as 0
  /// For each matrix, whether more than the fraction `gauge` of the direction is inside the null space, where the
  /// derivative is infinite. May be null.
  bool* lost;
  T gauge;
  T* result; // (count, n, n), row by row, Hermitian
};

template <typename T>
using SpectralFunctionKernel = PassKernel<SpectralFunctionBatch, T>;

} // namespace spectralgrad::kernels::simd
