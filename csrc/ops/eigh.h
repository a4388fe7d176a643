#pragma once

#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// Calls the operator `spectralgrad::eigh` through the dispatcher. The rule is encoded as in ops/arguments.h; `method`
/// is explained in ops/hermitian_decomposition.h.
std::tuple<at::Tensor, at::Tensor> call_eigh(
    const at::Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method);

} // namespace spectralgrad::ops
