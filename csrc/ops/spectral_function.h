#pragma once

#include "derivatives/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <string_view>

// The operators that every function of a matrix is made of. A is read once, by `eigenpairs`, whose results are constants of
// every differentiation. All that depends on A takes A beside them, unread, for autograd to follow.
namespace spectralgrad::ops {

/// What a function asks of the eigenvalues.
struct Domain {
  static constexpr std::string_view all = "all";
  static constexpr std::string_view nonzero = "nonzero";
  static constexpr std::string_view nonnegative = "nonnegative"; // up to rounding
  static constexpr std::string_view positive = "positive";
};

/// A matrix and its decomposition; `A` (*, n, n) is for autograd alone.
struct Eigenpairs {
  at::Tensor A;
  at::Tensor eigenvalues; // (*, n), ascending
  at::Tensor eigenvectors; // (*, n, n)
};

/// Decomposes the Hermitian matrix of A's lower triangle for the public `function`, in whose name errors are raised: those of
/// `eigh`, and `c10::LinAlgError` where an eigenvalue is outside `domain`; under `Checks::ignore` such a matrix gives NaN.
Eigenpairs eigenpairs(const char* function, const at::Tensor& A, std::string_view domain = Domain::all);

/// The eigenvalues (*, n) as x^p differentiates them, p (*): those that cannot be told from 0 are 0 where p is positive and no
/// integer. NaN for a matrix outside the domain of x^p under `Checks::ignore`. Errors are those of `eigenpairs`, for `function`, and
/// `c10::ValueError` where p is not finite. A constant.
at::Tensor eigenvalues_of_power(const char* function, const at::Tensor& eigenvalues, const at::Tensor& p);

/// f(A), D_0 of derivatives/spectral_function.h; differentiable in the jets of `f`, and three times in A.
at::Tensor spectral_function(const derivatives::ScalarFunction& f, const Eigenpairs& pairs);

/// The power of two below max|lambda|, (*, 1); 1 where that is 0 or not finite.
at::Tensor power_of_two_below(const at::Tensor& eigenvalues);

/// sum_i f(lambda_i), (*), of f given as jets.
at::Tensor spectral_trace(const Eigenpairs& pairs, const at::Tensor& jets);

} // namespace spectralgrad::ops
