#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace spectralgrad::autograd {

/// Returns `x`, a derivative with respect to A. Differentiating the result with respect to A again raises an error with
/// `message`; derivatives with respect to other tensors are those of `x`.
at::Tensor differentiable_once(const at::Tensor& x, const at::Tensor& A, const std::string& message);

} // namespace spectralgrad::autograd
