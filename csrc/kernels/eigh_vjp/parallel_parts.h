#pragma once

#include "kernels/eigh_vjp/block_pairs.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

// Passes over batches of matrices of any size, in parallel: over matrices, or over parts of each.
namespace spectralgrad::kernels {

/// Some microseconds' work.
inline constexpr int64_t entries_per_task = 1 << 12;

template <typename F>
void for_each_matrix(int64_t count, int64_t n, const F& f) {
  at::parallel_for(0, count, entries_per_task / (n * n) + 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end; ++i) {
      f(i);
    }
  });
}

/// Calls f(matrix, begin, end) for all of `units` units of each matrix, about `entries` entries each.
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

/// Of an n x n matrix that takes one pass: of small ones too there is something for each of a few threads.
inline BlockPairs pairs_of_pass(int64_t n) {
  return {n, std::clamp<int64_t>(n / 8, 16, 128) / 16 * 16};
}

} // namespace spectralgrad::kernels
