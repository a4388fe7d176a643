#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator `spectralgrad::eig` for an `A` that is differentiated, with its derivatives by `rule`. `method` is that
/// of ops/general_decomposition.h.
std::tuple<at::Tensor, at::Tensor> differentiable_eig(
    const at::Tensor& A,
    const Rule& rule,
    std::optional<std::string_view> method);

} // namespace spectralgrad::ops
