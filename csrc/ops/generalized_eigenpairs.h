#pragma once

#include "ops/arguments.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator `spectralgrad::generalized_eigenpairs`: the decomposition of `generalized_eigh` with its derivatives,
/// for A and B of one shape and dtype. `caller_name()` is the function that messages name.
std::tuple<at::Tensor, at::Tensor> generalized_eigenpairs(
    const at::Tensor& A,
    const at::Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters);

} // namespace spectralgrad::ops
