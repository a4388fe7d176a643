#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// Calls the interrupt check, if there is one.
void check_interrupt();

/// `at::parallel_for` over `count` tasks of about so many operations each, with a look for interrupts every few hundredths of a
/// second on a core of its own. So Ctrl-C takes less than a second also where ten programs share the core, and threads
/// rarely wait for each other.
template <typename F>
void interruptible_parallel_for(
    int64_t count,
    int64_t operations_each,
    const F& f,
    int64_t operations_per_piece = 1 << 24) {
  // Some ten microseconds: worth starting a thread for.
  constexpr int64_t operations_per_task = 1 << 14;
  const auto grain = std::max<int64_t>(1, operations_per_task / operations_each);
  const auto piece = std::max<int64_t>(1, operations_per_piece / operations_each) * at::get_num_threads();
  for (int64_t begin = 0; begin < count; begin += piece) {
    if (begin > 0) {
      check_interrupt();
    }
    at::parallel_for(begin, std::min(count, begin + piece), grain, f);
  }
}

} // namespace spectralgrad::kernels
