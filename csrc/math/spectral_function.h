#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

// f(A) = V f(Lambda) V^H and its derivatives in A, exact at degenerate eigenvalues: Daleckii and Krein (1965); Higham
// (2008), "Functions of Matrices", chapter 3; Higham and Relton (2014) for the second order.
//
//     D_0 = f(A),   D_1(E) = V ( f[i,j] o X ) V^H,   X = V^H E V,
//     D_2(E, E') = V ( sum_k f[i,k,j] (X_ik X'_kj + X'_ik X_kj) ) V^H
//     D_3(E, E', E'') = V ( sum_kl f[i,k,l,j] (X_ik X'_kl X''_lj + its permutations in E, E', E'') ) V^H
//
// for Hermitian E. The pairing of D_m with a Hermitian G is symmetric in G and all E. So the transposed derivative of
// D_m in E is D_m with G in place of E, and its derivative in A is D_(m+1). The family is closed: all derivatives
// consist of D_0 ... D_3 and, if f itself is differentiated, of their transposes in f. This file computes them from the
// decomposition of A. ops/spectral_function_autograd.cpp has the derivatives of each in terms of the others.
namespace spectralgrad::math {

/// Returns D_m(E_1 ... E_m), (*, n, n), exactly Hermitian, where E_i are the Hermitian parts of `directions` (none to
/// three). If f is singular at 0 (square roots) and A is singular, it is the derivative among matrices of the same rank
/// (math/divided_differences.h). The function warns if a direction has a part inside the null space, because the
/// derivative is infinite along it. It also warns if a direction has a part inside a degenerate level that steps fill
/// partly (neither 0 nor 1), because no derivative exists there.
at::Tensor spectral_function(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

/// For other implementations of D_1: raises if fewer derivatives of f are known than D_m needs.
void require_derivatives(const ScalarFunction& f, int64_t order = 1);

/// The transpose of D_m in the jets of f (*, K+1, n), in which D_m is linear. Returns the gradient of
/// Re tr(E_0 D_m(E_1 ... E_m)) with respect to the jets. `directions` are E_0 ... E_m, one to three.
at::Tensor spectral_function_transposed(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

} // namespace spectralgrad::math
