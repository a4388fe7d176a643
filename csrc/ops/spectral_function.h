#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <string_view>

// The operators of which all functions of a matrix consist. `eigenpairs` reads A, and its results are constants of
// differentiation. The other operators take A, too, and do not read it: it is there for autograd to follow.
namespace spectralgrad::ops {

/// The eigenvalues at which a function is defined.
struct Domain {
  static constexpr std::string_view all = "all";
  static constexpr std::string_view nonzero = "nonzero";
  static constexpr std::string_view nonnegative = "nonnegative"; // up to round-off
  static constexpr std::string_view positive = "positive";
};

/// A matrix and its decomposition. Only autograd uses `A` (*, n, n).
struct Eigenpairs {
  at::Tensor A;
  at::Tensor eigenvalues; // (*, n), ascending
  at::Tensor eigenvectors; // (*, n, n)
};

/// Decomposes the Hermitian matrix whose lower triangle is that of A. Raises the errors of `eigh`, and
/// `c10::LinAlgError` if an eigenvalue is outside `domain` (under `Checks::ignore` such a matrix gives NaN). Messages
/// name the public `function`.
Eigenpairs eigenpairs(const char* function, const at::Tensor& A, std::string_view domain = Domain::all);

/// Returns the eigenvalues (*, n) that derivatives of x^p use, p (*). Eigenvalues that are 0 up to round-off are 0 if p
/// is positive and not an integer. A matrix outside the domain of x^p gives NaN under `Checks::ignore`. Otherwise it
/// raises the errors of `eigenpairs`, for `function`, and `c10::ValueError` if p is not finite. The result is a
/// constant.
at::Tensor eigenvalues_of_power(const char* function, const at::Tensor& eigenvalues, const at::Tensor& p);

/// Returns f(A), which is D_0 of math/spectral_function.h. Differentiable in the jets of `f`, and three times in A.
at::Tensor spectral_function(const math::ScalarFunction& f, const Eigenpairs& pairs);

/// The power of two below max|lambda|, (*, 1); 1 if max|lambda| is 0 or not finite.
at::Tensor power_of_two_below(const at::Tensor& eigenvalues);

/// Returns sum_i f(lambda_i), (*), for an f given as jets.
at::Tensor spectral_trace(const Eigenpairs& pairs, const at::Tensor& jets);

} // namespace spectralgrad::ops
