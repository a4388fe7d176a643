#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace spectralgrad::autograd {

/// `x`, a derivative in A, as it is; with `message` for an error where it is to be differentiated in A again. Its derivatives in
/// anything else go on.
at::Tensor once(const at::Tensor& x, const at::Tensor& A, const std::string& message);

} // namespace spectralgrad::autograd
