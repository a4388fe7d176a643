#pragma once

#include <cstdint>
#include <vector>

namespace spectralgrad::kernels {

/// Returns for each of n rows one of n columns, each column once, so that the sum of the `weights` (n, n) is the
/// largest possible. The weights are finite.
///
/// The Hungarian method with potentials, O(n^3): Kuhn (1955); Jonker and Volgenant (1987). The result depends on the
/// weights alone.
std::vector<int64_t> assignment(const std::vector<double>& weights, int64_t n);

} // namespace spectralgrad::kernels
