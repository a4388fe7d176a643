#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad::kernels {

/// The canonical basis of each cluster of eigenvalues.
struct CanonicalFrame {
  at::Tensor vectors; // (*, m, c): V, with each cluster's columns multiplied by a unitary matrix from the right
  at::Tensor pivots; // (*, c), int64: the row that determines the phase of each column
  at::Tensor clusters; // (*, c), int64: the number of each column's cluster, from 0 on
};

/// Chooses the basis for eigenvalues `L` (*, c) and eigenvectors `V` (*, m, c), c <= m.
///
/// A cluster is a chain of eigenvalues with gaps of at most `rtol`*max|L|, by default `tolerances::same_eigenvalue`
/// eps. Its basis is a Cholesky factor of the matrix P = V_c V_c^H, which does not depend on V's basis, with pivots:
/// the first column of the basis is column p of P, normalised, and the next one is taken from the P of the remaining
/// subspace. So the rows of the pivots form a lower triangle with a positive diagonal.
///
/// The pivot is the first row whose diagonal entry of P is at least `pivot_share` of the largest one. So the choice
/// between equal entries does not depend on round-off.
///
/// Runs on the host for every device, one matrix on each thread. The results of a matrix depend on it alone.
CanonicalFrame canonical_frame(const at::Tensor& L, const at::Tensor& V, std::optional<double> rtol);

/// Not a ratio of the squares of entries that eigenvectors of symmetric problems have, such as 1/2, 2/3 or 3/4.
inline constexpr double pivot_share = 0.77;

} // namespace spectralgrad::kernels
