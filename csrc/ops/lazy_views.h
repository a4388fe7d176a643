#pragma once

#include <c10/core/DispatchKey.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::ops {

/// For kernels that are made of tensor operations: lets `conj()`, `mH()` and negated views mean what they say. Below a
/// TorchDispatchMode the keys that resolve such views are left out, and their data would be taken as it lies.
class LazyViews {
 public:
  LazyViews() {
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Conjugate, false);
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Negative, false);
  }
  LazyViews(const LazyViews&) = delete;
  LazyViews& operator=(const LazyViews&) = delete;
  ~LazyViews() {
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Conjugate, conjugate_);
    c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Negative, negative_);
  }

 private:
  bool conjugate_ = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::Conjugate);
  bool negative_ = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::Negative);
};

} // namespace spectralgrad::ops
