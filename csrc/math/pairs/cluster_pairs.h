#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// Pairs inside clusters of eigenvalues, for the spectral map.
namespace spectralgrad::math {

/// In how many rounds each pair of a cluster can meet once, for the largest cluster of the batch; 0 if there is none.
int64_t rounds_of_largest_cluster(const at::Tensor& eigenvalues);

/// For each round the partner of each eigenvalue, itself where it has none: (*, rounds, n), int64. All clusters meet at the
/// same time: a round robin of m takes m - 1 rounds if m is even, else m.
at::Tensor partners(const at::Tensor& eigenvalues, int64_t rounds);

/// The next eigenvalue of the same cluster, the first after the last: (*, n), int64.
at::Tensor successors(const at::Tensor& eigenvalues);

} // namespace spectralgrad::math
