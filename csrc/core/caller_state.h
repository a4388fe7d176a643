#pragma once

#include <c10/core/AutogradState.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::autograd {

/// While the outermost of these lives in a thread, interrupt checks run with the dispatch keys and the autograd state that the
/// thread had when it was made. Kernels run below autograd; a signal handler in Python must not.
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
