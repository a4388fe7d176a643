#include "kernels/interruptible.h"

#include <spectralgrad/interrupt.h>

#include <atomic>

namespace spectralgrad {
namespace {

std::atomic<InterruptCheck> current{nullptr};

} // namespace

InterruptCheck exchange_interrupt_check(InterruptCheck check) {
  return current.exchange(check);
}

void kernels::check_interrupt() {
  if (const auto check = current.load()) {
    check();
  }
}

} // namespace spectralgrad
