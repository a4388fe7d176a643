#pragma once

#include "kernels/eigh_vjp/block_pairs.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

// Parallel loops over the matrices of a batch, or over parts of each matrix.
namespace spectralgrad::kernels {

/// The number of entries in the smallest task for a thread: a few microseconds of work.
inline constexpr int64_t entries_per_task = 1 << 12;

/// Calls f(matrix) for each n x n matrix of a batch, in parallel.
template <typename F>
void for_each_matrix(int64_t count, int64_t n, const F& f) {
  at::parallel_for(0, count, entries_per_task / (n * n) + 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end; ++i) {
      f(i);
    }
  });
}

/// Divides each matrix into `units` units of about `entries` entries, and calls f(matrix, begin, end) for ranges of
/// units, in parallel.
template <typename F>
void for_each_part(int64_t count, int64_t units, int64_t entries, const F& f) {
  at::parallel_for(
      0,
      count * units,
      entries_per_task / std::max<int64_t>(entries, 1) + 1,
      [&](int64_t begin, int64_t end) {
        for (auto i = begin; i < end;) {
          const auto matrix = i / units;
          const auto first = i % units;
          const auto last = std::min(units, first + end - i);
          f(matrix, first, last);
          i += last - first;
        }
      });
}

/// The blocks for one pass over an n x n matrix. They are small enough that a few threads share even a small matrix.
inline BlockPairs pairs_of_pass(int64_t n) {
  return {n, std::clamp<int64_t>(n / 8, 16, 128) / 16 * 16};
}

} // namespace spectralgrad::kernels
