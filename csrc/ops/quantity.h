#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// `x`, the argument `name` of the public `function`, if all of it is finite, and positive if that is asked for; otherwise raises
/// `c10::ValueError`. It is an operator, so it sees the values inside torch.func transforms and in compiled code, too.
at::Tensor quantity(const at::Tensor& x, std::string_view function, std::string_view name, bool positive);

} // namespace spectralgrad::ops
