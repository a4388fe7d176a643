#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::math {

/// The gradient V^-H diag(g_lambda) V^H of a loss of the eigenvalues, for the matrices of a batch in which eigenvectors
/// are nearly parallel. Returns it (*, n, n), and which matrices have it (*), bool; it is zero for the others.
///
/// Near a defective matrix (a Jordan block), the outer products of left and right eigenvectors are large and cancel, so
/// that the sum over a cluster of eigenvalues loses all digits. But the Riesz projector P of the whole cluster is well
/// conditioned. With q the polynomial that interpolates conj(g_lambda) in the cluster's eigenvalues,
///     sum over the cluster of conj(g_i) x_i y_i^H / (y_i^H x_i) = q(A) P,
/// and for equal g_lambda it is g P. So this computes an orthonormal basis X of each cluster's invariant subspace, by
/// inverse iteration from its eigenvectors, and q(B) for the matrix B of A in that basis.
///
/// Where a cluster is defective to working precision and q is not smooth, the loss distinguishes eigenvalues that have
/// no derivative there. The mean of g_lambda takes the place of q.
///
/// Bai, Demmel and McKenney (1993), "On computing condition numbers for the nonsymmetric eigenproblem"; Higham (2008),
/// "Functions of Matrices", sections 1.2.2 and 9. Not differentiated.
std::pair<at::Tensor, at::Tensor> near_defective_gradient(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& A);

} // namespace spectralgrad::math
