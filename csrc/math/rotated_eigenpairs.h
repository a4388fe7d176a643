#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

// What the spectral map differentiates a function through: A's eigenpairs, and inside each cluster the same with pairs
// rotated into each other.
//
// For a gauge-invariant phi(lambda, V), which need not be known, the part of its derivative G = V^H (dphi/dA) V inside a cluster
// is a limit 0/0 at A. It is none at the neighbours of A whose pair (a, b) has eigenvectors turned by an angle t,
//     v_a' = cos(t) v_a + z sin(t) v_b,    v_b' = -conj(z) sin(t) v_a + cos(t) v_b,    |z| = 1,
// and eigenvalues m -+ g: there
//     dphi/dlambda_a' - dphi/dlambda_b' = cos(2t) (G_aa - G_bb) + 2 sin(2t) Re(z G_ab).
// With t = +-pi/8 and g = d/sqrt(2), where lambda_a, lambda_b = m -+ d, half the difference of the two is sqrt(2) Re(z G_ab) at A
// itself up to the order of d^2: their mean is m -+ d/2, and what the other half of d does, the two see with opposite signs.
// What other pairs do that are turned at the same time is of the order of their d, if phi is not linear in functions of A.
// z = 1 gives the real part of G_ab, z = i minus the imaginary one.
//
// A round turns disjoint pairs, all clusters of the batch at once; `rounds` of them make each pair meet once. The last set of
// all has the eigenpairs of each cluster in another order, to find out whether phi treats them alike.
namespace spectralgrad::math {

/// How many sets of eigenpairs there are: for each z and each sign of t one of `rounds`, and the last.
int64_t number_of_sets(bool is_complex, int64_t rounds);

/// lambda (*, n), V (*, n, n), and for each set of pairs (*, sets, n) and (*, sets, n, n).
using RotatedEigenpairs = std::array<at::Tensor, 4>;

/// From ascending eigenvalues and eigenvectors; not differentiable itself.
RotatedEigenpairs rotated_eigenpairs(const at::Tensor& eigenvalues, const at::Tensor& eigenvectors, int64_t rounds);

/// G_ab of all pairs that meet, from the cotangents of the rotated eigenvalues; 0 elsewhere. `partners` (*, rounds, n).
at::Tensor lost_entries(const at::Tensor& rotated_cotangent, const at::Tensor& partners, bool is_complex);

/// The transpose of `lost_entries`: tangents of the rotated eigenvalues (*, sets, n), from X = V^H dA V (*, n, n).
at::Tensor rotated_eigenvalue_tangents(const at::Tensor& X, const at::Tensor& partners);

/// Where pairs meet: (*, rounds, n, n), bool.
at::Tensor meetings(const at::Tensor& partners);

} // namespace spectralgrad::math
