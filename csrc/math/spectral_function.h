#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

// f(A) = V f(Lambda) V^H and its derivatives in A, exact at every degeneracy: Daleckii and Krein (1965); Higham (2008),
// "Functions of Matrices", chapter 3; Higham and Relton (2014) for the second order.
//
//     D_0 = f(A),   D_1(E) = V ( f[i,j] o X ) V^H,   X = V^H E V,
//     D_2(E, E') = V ( sum_k f[i,k,j] (X_ik X'_kj + X'_ik X_kj) ) V^H
//     D_3(E, E', E'') = V ( sum_kl f[i,k,l,j] (X_ik X'_kl X''_lj + its permutations in E, E', E'') ) V^H
//
// for Hermitian E. Pairing with a Hermitian G gives a form that is symmetric in G and all E: so the derivative of D_m in E,
// transposed, is D_m with G in the place of E, and its derivative in A is D_(m+1). The family is closed: whatever is
// differentiated, nothing but D_0 ... D_3 and (for a function that is itself differentiated) their transpose in f is needed.
// Here they are computed from the decomposition of A; the autograd layer says what is a derivative of what.
namespace spectralgrad::math {

/// D_m(E_1 ... E_m), (*, n, n), exactly Hermitian, of the Hermitian parts of `directions` (none to three). Where f is singular at 0
/// (square roots) and A is singular, it is the derivative among matrices of the same rank (math/divided_differences.h). A
/// warning says so where a direction has a part inside the kernel: along that part the derivative is infinite.
/// Another warning says so where a direction looks inside a degenerate level that steps fill in part (neither 0 nor 1), where there
/// is no derivative.
at::Tensor spectral_function(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

/// For those who compute D_1 by themselves: raises where fewer derivatives of f are known than D_m takes, ...
void require_derivatives(const ScalarFunction& f, int64_t order = 1);

/// ... says whether steps have a level that is filled in part, which directions may look into, ...
bool has_partly_filled_level(const ScalarFunction& f);

/// ... and says, as `checks()` asks, that the derivative at that matrix of the batch is infinite in part.
void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix);

/// The transpose in the jets of f (*, K+1, n), in which D_m is linear: the gradient of Re tr(E_0 D_m(E_1 ... E_m)), of the
/// shape of the jets. `directions` E_0 ... E_m, one to three.
at::Tensor spectral_function_transposed(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

} // namespace spectralgrad::math
