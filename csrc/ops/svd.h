#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator `spectralgrad::svd` for an `A` that is differentiated, with its derivatives by `rule`. `method` is that
/// of ops/singular_value_decomposition.h.
std::tuple<at::Tensor, at::Tensor, at::Tensor> differentiable_svd(
    const at::Tensor& A,
    bool full_matrices,
    std::optional<std::string_view> driver,
    const Rule& rule,
    std::optional<std::string_view> method);

} // namespace spectralgrad::ops
