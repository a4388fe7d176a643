#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// Calls the interrupt check, if one is set, in the state of the thread's caller (core/caller_state.h).
void check_interrupt();

/// Runs `at::parallel_for` over `count` tasks of about `operations_each` operations, piece by piece, and checks for
/// interrupts between the pieces. A piece takes a few hundredths of a second on an idle core. So Ctrl-C takes less
/// than a second even if ten programs share the core, and threads rarely wait for each other.
template <typename F>
void interruptible_parallel_for(
    int64_t count,
    int64_t operations_each,
    const F& f,
    int64_t operations_per_piece = 1 << 24) {
  // About ten microseconds of work, which is worth starting a thread for.
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
