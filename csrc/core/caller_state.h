#pragma once

#include <c10/core/AutogradState.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::autograd {

/// Saves the thread's dispatch keys and autograd state for interrupt checks. While the outermost CallerState of a
/// thread lives, interrupt checks run with the state that it saved. Kernels run below autograd, but a Python signal
/// handler must not.
class CallerState {
 public:
  CallerState();
  ~CallerState();
  CallerState(const CallerState&) = delete;
  CallerState& operator=(const CallerState&) = delete;
  CallerState(CallerState&&) = delete;
  CallerState& operator=(CallerState&&) = delete;

  c10::impl::LocalDispatchKeySet keys() const {
    return keys_;
  }
  const c10::AutogradState& autograd() const {
    return autograd_;
  }

 private:
  c10::impl::LocalDispatchKeySet keys_;
  c10::AutogradState autograd_;
  bool outermost_;
};

} // namespace spectralgrad::autograd
