#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// Calls the interrupt check, if there is one.
void check_interrupt();

/// `at::parallel_for` over `count` tasks of about so many operations each, with a look for interrupts now and then: every few
/// hundredths to tenths of a second, too seldom for the threads to wait for each other.
template <typename F>
void interruptible_parallel_for(int64_t count, int64_t operations_each, const F& f) {
  // Some ten microseconds: worth starting a thread for.
  constexpr int64_t operations_per_task = 1 << 14;
  constexpr int64_t operations_per_piece = 1 << 27;
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
