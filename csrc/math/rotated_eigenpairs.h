#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

// The eigenpairs through which the spectral map differentiates a function phi(lambda, V): those of A, and sets of
// eigenpairs in which pairs inside a cluster are rotated into each other.
//
// phi is gauge-invariant but otherwise unknown. Inside a cluster of (nearly) degenerate eigenvalues, its derivative
// G = V^H (dphi/dA) V is a limit 0/0 at A. At neighbours of A it is not. Rotate the eigenvectors of a pair (a, b) by an
// angle t,
//     v_a' = cos(t) v_a + z sin(t) v_b,    v_b' = -conj(z) sin(t) v_a + cos(t) v_b,    |z| = 1,
// and replace its eigenvalues lambda_a, lambda_b = m -+ d by m -+ g. Then
//     dphi/dlambda_a' - dphi/dlambda_b' = cos(2t) (G_aa - G_bb) + 2 sin(2t) Re(z G_ab).
// Evaluate this for t = pi/8 and t = -pi/8, with g = d/sqrt(2). Half the difference of the two is sqrt(2) Re(z G_ab) at
// A itself, with an error of order d^2. For the mean of the two neighbours is A with m -+ d/2 in place of m -+ d: this
// shifts G_ab at first order in d, but G_aa - G_bb differs between the two neighbours by just as much with the opposite
// sign. Other pairs rotated at the same time add an error of the order of their d, unless phi is linear in functions of
// A. z = 1 gives the real part of G_ab, z = i minus the imaginary part.
//
// One round rotates disjoint pairs in all clusters of the batch at once. After `rounds` rounds each pair has met once.
// The last set permutes the eigenpairs of each cluster, to find out whether phi treats equal eigenvalues alike.
namespace spectralgrad::math {

/// The number of sets of eigenpairs: `rounds` for each z and each sign of t, and the permuted one.
int64_t number_of_sets(bool is_complex, int64_t rounds);

/// lambda (*, n) and V (*, n, n) of A, and those of all rotated sets, (*, sets, n) and (*, sets, n, n). Also used for
/// cotangents and tangents of these, which may be undefined.
using RotatedEigenpairs = std::array<at::Tensor, 4>;

/// Computes all sets from the eigenvalues (*, n), ascending, and eigenvectors (*, n, n) of A. Not differentiable.
RotatedEigenpairs rotated_eigenpairs(const at::Tensor& eigenvalues, const at::Tensor& eigenvectors, int64_t rounds);

/// Returns G_ab of all pairs that meet, and 0 elsewhere: (*, n, n). `rotated_cotangent` (*, sets, n) are the cotangents
/// of the rotated eigenvalues; `partners` is (*, rounds, n).
at::Tensor lost_entries(const at::Tensor& rotated_cotangent, const at::Tensor& partners, bool is_complex);

/// The transpose of `lost_entries`: returns the tangents of the rotated eigenvalues (*, sets, n), given X = V^H dA V
/// (*, n, n).
at::Tensor rotated_eigenvalue_tangents(const at::Tensor& X, const at::Tensor& partners);

/// The mask of the pairs that meet in each round: (*, rounds, n, n), bool.
at::Tensor meetings(const at::Tensor& partners);

} // namespace spectralgrad::math
