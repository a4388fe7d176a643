#pragma once

#include "autograd/no_autocast.h"

#include <c10/core/DispatchKey.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::autograd {

/// For kernels that are made of tensor operations: those mean what they say. `conj()`, `mH()` and negated views do not below a
/// TorchDispatchMode, where the keys that resolve them are left out and their data would be taken as it lies; products do
/// not under autocast.
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
