#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// Returns `x`. Raises `c10::ValueError` unless all its entries are finite, and positive if `positive`. The message
/// names the public `function` and its argument `name`. This is an operator, so that it sees values inside torch.func
/// transforms and in compiled code, too.
at::Tensor quantity(const at::Tensor& x, std::string_view function, std::string_view name, bool positive);

} // namespace spectralgrad::ops
