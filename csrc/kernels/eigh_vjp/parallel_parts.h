#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// The number of entries in the smallest task for a thread: a few microseconds of work.
inline constexpr int64_t entries_per_task = 1 << 12;

/// Divides each matrix of a batch into `units` units of about `entries` entries, and calls f(matrix, begin, end) for
/// ranges of units, in parallel.
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

} // namespace spectralgrad::kernels
