#pragma once

#include "ops/arguments.h"

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator itself, with the rule as it travels: what `spectralgrad::eigh` calls once it has encoded one.
std::tuple<at::Tensor, at::Tensor> call_eigh(
    const at::Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters);

} // namespace spectralgrad::ops
