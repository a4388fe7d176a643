#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// Returns the Hermitian matrix (*, n, n) whose lower triangle is that of A, with both triangles filled. The gradient
/// is Hermitian, as for the decompositions. Raises the errors of `eigh`, with messages that name `function` and call A
/// `name`.
at::Tensor hermitian(const at::Tensor& A, std::string_view function, std::string_view name);

} // namespace spectralgrad::ops
