#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace spectralgrad::ops {

/// How the eigenvectors along paths of T matrices continue each other, from eigenvalues `L` (*, T, c) and eigenvectors
/// `V` (*, T, m, c). All results are constants of any differentiation.
struct PathOrder {
  at::Tensor columns; // (*, T, c), int64: the column of V that continues each curve; 0, 1, ... in the first matrix
  at::Tensor clusters; // (*, T, c), int64: equal for curves that meet there
  at::Tensor start; // (*), int64: the matrix at which the curves start in both directions
};

/// The curves start at the first matrix with the most different eigenvalues. At each step away from it, a cluster of k
/// equal eigenvalues takes the k curves with which its eigenspace has the largest overlaps: of all assignments, the one
/// with the largest sum of squared overlaps. Clusters are those of `canonical_gauge`.
PathOrder path_order(const at::Tensor& L, const at::Tensor& V, std::optional<double> rtol);

} // namespace spectralgrad::ops
