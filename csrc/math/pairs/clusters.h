#pragma once

#include "core/arithmetic.h"

#include <cstdint>

// A cluster is a chain of values whose consecutive gaps are round-off. But only pairs up to `NoiseGate::reach` apart
// count as inside it. Templates for tensors, for one matrix in each SIMD lane, and for single numbers.
namespace spectralgrad::math {

/// Whether two neighbours with this gap belong to different clusters.
template <typename Number, typename Step>
SPECTRALGRAD_INLINE auto begins_cluster(const Number& gap, const Step& step) {
  return step < gap;
}

/// Numbers the clusters of n >= 1 ascending values, from 0 on. `value(i)` returns a value; `put(i, number)` receives
/// the number of its cluster. Returns whether any cluster has more than one value.
template <Arithmetic A, typename Values, typename Put>
SPECTRALGRAD_INLINE typename A::Mask number_clusters(
    int64_t n,
    const typename A::Number& step,
    const Values& value,
    const Put& put) {
  const auto zero = A::number_like(0, step);
  const auto one = A::number_like(1, step);
  auto number = zero;
  typename A::Mask repeated = one < zero;
  put(0, number);
  for (int64_t i = 0; i + 1 < n; ++i) {
    const auto begins = begins_cluster(value(i + 1) - value(i), step);
    number = number + A::select(begins, one, zero);
    repeated = repeated | A::negation(begins);
    put(i + 1, number);
  }
  return repeated;
}

/// Whether a pair of values with these cluster numbers and this gap is inside one cluster.
template <Arithmetic A, typename Reach>
SPECTRALGRAD_INLINE typename A::Mask in_one_cluster(
    const typename A::Number& cluster_i,
    const typename A::Number& cluster_j,
    const typename A::Number& gap,
    const Reach& reach) {
  return (cluster_i == cluster_j) & (A::abs(gap) <= reach);
}

} // namespace spectralgrad::math
