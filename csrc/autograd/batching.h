#pragma once

#include <spectralgrad/export.h>

#include <string>

namespace spectralgrad::autograd {

/// Registers the operator `name` of this library for torch.func.vmap. Its tensor arguments must take any batch at their
/// front. `one_result`: the result belongs to the whole batch, and has no batch dimension. At most once for each
/// operator.
SPECTRALGRAD_API void register_batching(const std::string& name, bool one_result);

} // namespace spectralgrad::autograd
