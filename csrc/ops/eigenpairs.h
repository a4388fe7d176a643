#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

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

/// Replaces A as an input of operators that need its place in the graph and never read its values. If A itself were
/// saved, autograd would refuse a change of A in place before the backward.
at::Tensor place_in_graph(const at::Tensor& A, const at::Tensor& eigenvectors);

/// Returns max|lambda|, (*, 1), rounded down to a power of two; 1 if max|lambda| is 0 or not finite.
at::Tensor power_of_two_below(const at::Tensor& eigenvalues);

} // namespace spectralgrad::ops
