#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// The Hermitian matrix of A's lower triangle (*, n, n), both triangles written out; its gradient is Hermitian, as that of the
/// decompositions. Errors are those of `eigh` in the name of `function`, which calls A `name`.
at::Tensor hermitian(const at::Tensor& A, std::string_view function, std::string_view name);

} // namespace spectralgrad::ops
