#pragma once

#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator itself, with the rule as it travels, and the way to decompose (ops/hermitian_decomposition.h).
std::tuple<at::Tensor, at::Tensor> call_eigh(
    const at::Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method);

} // namespace spectralgrad::ops
