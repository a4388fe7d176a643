#pragma once

#include "math/divided_differences.h"

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

/// f(A), D_0 of math/spectral_function.h; differentiable in the jets of `f`, and twice in A.
at::Tensor spectral_function(const math::ScalarFunction& f, const Eigenpairs& pairs);

/// The power of two below max|lambda|, (*, 1); 1 where that is 0 or not finite.
at::Tensor power_of_two_below(const at::Tensor& eigenvalues);

/// sum_i f(lambda_i), (*), of f given as jets.
at::Tensor spectral_trace(const Eigenpairs& pairs, const at::Tensor& jets);

} // namespace spectralgrad::ops
