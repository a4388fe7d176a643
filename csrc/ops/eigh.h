#pragma once

#include "ops/hermitian_decomposition.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator `spectralgrad::eigh` with its derivatives, for kernels of the Autograd key. `method` is explained in
/// ops/hermitian_decomposition.h.
std::tuple<at::Tensor, at::Tensor> differentiable_eigh(
    const at::Tensor& A,
    std::string_view UPLO,
    const Rule& rule,
    MethodName method);

} // namespace spectralgrad::ops
