#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

// Pairs and triples of eigenvalues as integer tensors: positions among the n ascending eigenvalues.
namespace spectralgrad::math {

/// The positions of k arguments: k tensors of one shape. "Sorted" means first <= second <= ...
using Positions = std::vector<at::Tensor>;

/// Gathers the entries of x (..., n) at integer positions of any shape: (..., *shape).
at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions);

/// x at the positions i minus x at the positions j.
at::Tensor difference(const at::Tensor& x, const at::Tensor& i, const at::Tensor& j);

/// 0 ... n - 1.
at::Tensor all_positions(int64_t n, const at::Device& device);

/// Sorts positions in ascending order, entry by entry.
Positions sorted(const Positions& positions);

/// The pairs i <= j of n positions: i and j of each, and the index of the pair (i, j) or (j, i), (n, n).
struct SortedPairs {
  at::Tensor i;
  at::Tensor j;
  at::Tensor place;

  SortedPairs(int64_t n, const at::Device& device);
};

/// The number of sorted triples of n positions, and the index of a sorted triple among them.
int64_t triple_count(int64_t n);
at::Tensor triple_index(const Positions& sorted);

/// All sorted triples of n positions, in the order of `triple_index`.
Positions all_triples(int64_t n, const at::Device& device);

/// Calls `f(start, count)` for the parts of `size` columns. Each column has `entries` entries, and each part a few
/// million.
template <typename F>
void in_parts(int64_t size, int64_t entries, const F& f) {
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, entries));
  for (int64_t start = 0; start < size; start += step) {
    f(start, std::min(step, size - start));
  }
}

} // namespace spectralgrad::math
