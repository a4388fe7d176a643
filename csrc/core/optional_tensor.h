#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// A tensor that may be undefined, in the type that operator schemas use for it.
using OptionalTensor = std::optional<at::Tensor>;

inline OptionalTensor optional(const at::Tensor& x) {
  return x.defined() ? OptionalTensor(x) : std::nullopt;
}

inline at::Tensor tensor_or_undefined(const OptionalTensor& x) {
  return x.value_or(at::Tensor());
}

} // namespace spectralgrad
