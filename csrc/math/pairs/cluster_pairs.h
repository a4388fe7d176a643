#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// Schedules the pairs of eigenvalues inside each cluster, for the spectral map.
namespace spectralgrad::math {

/// The number of rounds in which every pair of a cluster can meet once, for the largest cluster of the batch; 0 if no
/// eigenvalues form a cluster.
int64_t rounds_of_largest_cluster(const at::Tensor& eigenvalues);

/// The partner of each eigenvalue in each round, (*, rounds, n), int64; an eigenvalue without a partner is its own. All
/// clusters play at the same time. The round robin of a cluster of m takes m - 1 rounds if m is even, else m.
at::Tensor partners(const at::Tensor& eigenvalues, int64_t rounds);

/// The index of the next eigenvalue in the same cluster, cyclically: (*, n), int64.
at::Tensor successors(const at::Tensor& eigenvalues);

} // namespace spectralgrad::math
