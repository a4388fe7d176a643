#pragma once

#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "core/optional_tensor.h"
#include "ops/arguments.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string_view>

// The common part of the operators `svd_vjp` and `svd_truncated_vjp`.
namespace spectralgrad::ops {

using SvdGradient = at::Tensor(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

/// The kernel that computes the gradient by `formula`, a function of math/.
template <SvdGradient* formula>
at::Tensor svd_gradient_kernel(
    const OptionalTensor& U_cotangent,
    const OptionalTensor& singular_values_cotangent,
    const OptionalTensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return formula(
      tensor_or_undefined(U_cotangent),
      tensor_or_undefined(singular_values_cotangent),
      tensor_or_undefined(Vh_cotangent),
      U,
      singular_values,
      Vh,
      Rule::parse(rule, parameters));
}

inline at::Tensor svd_gradient_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const at::Tensor& U,
    const at::Tensor&,
    const at::Tensor& Vh,
    std::string_view,
    RuleParameters,
    std::string_view) {
  auto shape = U.sym_sizes().vec();
  shape.back() = Vh.sym_size(-1);
  return at::empty_symint(shape, U.options());
}

/// Calls the operator `op` for `function`, a name for messages. If all cotangents are undefined, so is the result.
template <typename Operator>
at::Tensor call_svd_gradient(
    const Operator& op,
    const char* function,
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule) {
  if (!U_cotangent.defined() && !singular_values_cotangent.defined() && !Vh_cotangent.defined()) {
    return {};
  }
  return op.call(
      optional(U_cotangent),
      optional(singular_values_cotangent),
      optional(Vh_cotangent),
      U,
      singular_values,
      Vh,
      rule.name(),
      rule.parameters(),
      caller_name(function));
}

} // namespace spectralgrad::ops
