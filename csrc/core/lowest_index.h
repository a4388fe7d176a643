#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace spectralgrad::kernels {

/// The lowest index that any thread has found. Because it is the lowest, messages about it do not depend on the
/// threads.
class LowestIndex {
 public:
  void found(int64_t index) {
    auto lowest = lowest_.load();
    while (index < lowest && !lowest_.compare_exchange_weak(lowest, index)) {
    }
  }
  bool any() const {
    return value() != none;
  }
  int64_t value() const {
    return lowest_.load();
  }

 private:
  static constexpr auto none = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> lowest_{none};
};

} // namespace spectralgrad::kernels
