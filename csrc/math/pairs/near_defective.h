#pragma once

#include "core/scalar_traits.h"
#include "core/tolerances.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

// When eigenvalues of a general matrix are degenerate, or nearly defective. For eigenvalue i, kappa_i = 1/|y_i^H x_i|
// is the condition number, for left and right eigenvectors of norm 1: round-off of A moves the eigenvalue by
// eps*max|lambda|*kappa_i. Wilkinson (1965), "The Algebraic Eigenvalue Problem", chapter 2.
namespace spectralgrad::math {

/// The condition number kappa for a norm of a row of V^-1, which is not finite if V is singular.
template <typename real_t>
real_t finite_condition(real_t norm) {
  return norm < std::numeric_limits<real_t>::infinity() ? norm : std::numeric_limits<real_t>::max();
}

template <typename real_t>
real_t largest_condition(const real_t* norms, int64_t count) {
  real_t result = 0;
  for (int64_t i = 0; i < count; ++i) {
    result = std::max(result, finite_condition(norms[i]));
  }
  return result;
}

/// The largest absolute value of the complex numbers at `x`; 0 if `x` is null.
template <typename real_t>
real_t largest_absolute(const c10::complex<real_t>* x, int64_t count) {
  real_t result = 0;
  for (int64_t i = 0; x != nullptr && i < count; ++i) {
    result = std::max(result, std::abs(x[i]));
  }
  return result;
}

/// The size of matrices `A` (*, n, n): the largest entry or the largest eigenvalue, (*), real. It is at most the norm
/// of A, and max|lambda| if A is normal. The eigenvalues of other matrices may be much smaller than their round-off.
inline at::Tensor size_of_matrix(const at::Tensor& A, const at::Tensor& eigenvalues) {
  return at::maximum(A.abs().amax({-2, -1}), eigenvalues.abs().amax(-1));
}

/// How many eps of an entry S_ij of `eig_vjp` are round-off: a multiple of |gV_j|. `condition` is kappa_j, and
/// `change_of_norm` is Re v_j^H gV_j.
///
/// Losses such as Riesz projectors V_c (V^-1)_c compute gV from V^-1, so column j has a relative error of eps*kappa_j.
/// Such losses do not depend on the norm of v_j.
template <typename real_t>
real_t cotangent_noise(real_t cotangent_norm, real_t condition, real_t change_of_norm, int64_t n) {
  const auto limit = static_cast<real_t>(tolerances::independent_of_norm(n)) * cotangent_norm;
  return std::abs(change_of_norm) <= limit ? condition * cotangent_norm : cotangent_norm;
}

/// The same for tensors (*, n).
inline at::Tensor cotangent_noise(
    const at::Tensor& cotangent_norms,
    const at::Tensor& conditions,
    const at::Tensor& changes_of_norm,
    int64_t n) {
  const auto independent = changes_of_norm.abs() <= cotangent_norms * tolerances::independent_of_norm(n);
  return at::where(independent, conditions * cotangent_norms, cotangent_norms);
}

template <typename real_t>
struct EigenvaluePair {
  using complex_t = c10::complex<real_t>;

  real_t gap; // |lambda_i - lambda_j|
  real_t largest; // the size of A, of which its round-off is a fraction
  real_t first_condition; // kappa_i
  real_t second_condition;

  static constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;

  real_t worse_condition() const {
    return std::max(first_condition, second_condition);
  }

  /// Whether round-off of A makes the two equal.
  bool is_degenerate() const {
    return gap <=
        static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)) * largest * worse_condition() ||
        largest == 0;
  }

  /// The round-off of A turns eigenvectors by this, as a fraction. The same fraction of the derivatives is wrong.
  real_t relative_error() const {
    return static_cast<real_t>(tolerances::eps(dtype)) * largest * worse_condition() / gap;
  }

  /// Whether the cotangents differ by more than those of a symmetric smooth function of the eigenvalues. `most` is the
  /// largest of them.
  bool are_distinguished(complex_t first, complex_t second, real_t most) const {
    const auto difference = std::abs(first - second);
    return difference > static_cast<real_t>(tolerances::gauge(dtype)) * most &&
        difference * largest > static_cast<real_t>(tolerances::smooth_slope) * most * gap;
  }
};

} // namespace spectralgrad::math
