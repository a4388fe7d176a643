#include "core/interruptible.h"

#include "core/caller_name.h"
#include "core/caller_state.h"

#include <spectralgrad/interrupt.h>

#include <atomic>
#include <utility>

namespace spectralgrad {
namespace {

std::atomic<InterruptCheck> current{nullptr};

thread_local const autograd::CallerState* caller = nullptr;

/// While it lives, the thread has its caller's state. `caller` is null for that time, so that operations which the
/// check calls save a state of their own.
class AsCaller {
 public:
  explicit AsCaller(const autograd::CallerState& state)
      : state_(std::exchange(caller, nullptr)), keys_(state.keys()), autograd_(c10::AutogradState::get_tls_state()) {
    c10::AutogradState::set_tls_state(state.autograd());
  }
  ~AsCaller() {
    c10::AutogradState::set_tls_state(autograd_);
    caller = state_;
  }
  AsCaller(const AsCaller&) = delete;
  AsCaller& operator=(const AsCaller&) = delete;
  AsCaller(AsCaller&&) = delete;
  AsCaller& operator=(AsCaller&&) = delete;

 private:
  const autograd::CallerState* state_;
  c10::impl::ForceDispatchKeyGuard keys_;
  c10::AutogradState autograd_;
  CallerNameGuard name_{""};
};

} // namespace

autograd::CallerState::CallerState()
    : keys_(c10::impl::tls_local_dispatch_key_set()),
      autograd_(c10::AutogradState::get_tls_state()),
      outermost_(caller == nullptr) {
  if (outermost_) {
    caller = this;
  }
}

autograd::CallerState::~CallerState() {
  if (outermost_) {
    caller = nullptr;
  }
}

InterruptCheck exchange_interrupt_check(InterruptCheck check) {
  return current.exchange(check);
}

void kernels::check_interrupt() {
  const auto check = current.load();
  if (check == nullptr) {
    return;
  }
  if (caller == nullptr) {
    check();
    return;
  }
  const AsCaller as_caller(*caller);
  check();
}

} // namespace spectralgrad
