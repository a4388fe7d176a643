#pragma once

#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace spectralgrad::autograd {

/// Disables autocast while it lives, so that results and derivatives keep the precision of the input.
class NoAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::autocast_dispatch_keyset};
};

} // namespace spectralgrad::autograd
