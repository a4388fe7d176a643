#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

// What the spectral map differentiates a function through: A's eigenpairs, and inside each cluster the same with pairs
// rotated into each other.
//
// For a gauge-invariant phi(lambda, V), which need not be known, the part of its derivative inside a cluster is a limit 0/0. With
// the gap of a pair closed, lambda_a = lambda_b, another basis of the pair is as good: at v_+- = (v_a +- z v_b)/sqrt(2), |z| = 1,
//     d phi/d lambda_+- = v_+-^H G v_+- = (G_aa + G_bb)/2 +- Re(z G_ab)
// where G = dphi/dA: half their difference is the entry that was lost, its real part for z = 1, minus its imaginary part for
// z = i. Closing a gap, no wider than sqrt(eps)*max|lambda|, moves A by half of it.
//
// A round closes disjoint pairs, all clusters of the batch at once; `rounds` of them make each pair meet once. The last set of
// all has the eigenvectors of each cluster exchanged in turn, to find out whether phi treats them alike.
namespace spectralgrad::derivatives {

/// lambda (*, n), V (*, n, n), and for each set of pairs (*, sets, n) and (*, sets, n, n); sets = rounds + 1, or
/// 2 rounds + 1 for complex matrices.
using RotatedEigenpairs = std::array<at::Tensor, 4>;

/// From ascending eigenvalues and eigenvectors; not differentiable itself.
RotatedEigenpairs rotated_eigenpairs(const at::Tensor& eigenvalues, const at::Tensor& eigenvectors, int64_t rounds);

/// gA from the cotangents of all four, some of which may be undefined. Pairs of whose rotation phi is not independent, which
/// is told, keep what `eigh` gives.
at::Tensor rotated_eigenpairs_vjp(
    const RotatedEigenpairs& cotangents,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

/// Tangents of the first three; V of the last is constant.
RotatedEigenpairs rotated_eigenpairs_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    int64_t rounds);

} // namespace spectralgrad::derivatives
