#pragma once

#include "autograd/no_autocast.h"

#include <c10/core/DispatchKey.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::autograd {

/// Makes tensor operations inside a kernel behave as usual while it lives. Below a TorchDispatchMode, the dispatch keys
/// that resolve `conj()`, `mH()` and negated views are excluded, so operations would read the unresolved data; this
/// class removes the exclusion. It also disables autocast, which would change the precision of products.
class TensorCode {
 public:
  TensorCode() {
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Conjugate, false);
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Negative, false);
  }
  TensorCode(const TensorCode&) = delete;
  TensorCode& operator=(const TensorCode&) = delete;
  ~TensorCode() {
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Conjugate, conjugate_);
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Negative, negative_);
  }

 private:
  bool conjugate_ = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::Conjugate);
  bool negative_ = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::Negative);
  NoAutocast no_autocast_;
};

} // namespace spectralgrad::autograd
