#include "ops/svd_vjp.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "kernels/svd_vjp/svd_vjp.h"
#include "math/svd.h"
#include "ops/arguments.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor svd_vjp_kernel(
    const OptionalTensor& U_cotangent,
    const OptionalTensor& singular_values_cotangent,
    const OptionalTensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::svd_vjp(
      tensor_or_undefined(U_cotangent),
      tensor_or_undefined(singular_values_cotangent),
      tensor_or_undefined(Vh_cotangent),
      U,
      singular_values,
      Vh,
      Rule::parse(rule, parameters));
}

Tensor svd_vjp_on_cpu(
    const OptionalTensor& U_cotangent,
    const OptionalTensor& singular_values_cotangent,
    const OptionalTensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const auto by_tensor_code = [&] {
    return svd_vjp_kernel(
        U_cotangent,
        singular_values_cotangent,
        Vh_cotangent,
        U,
        singular_values,
        Vh,
        rule,
        parameters,
        caller);
  };
  if (!kernels::supports_svd_vjp(U, Vh)) {
    return by_tensor_code();
  }
  const autograd::TensorCode tensor_code;
  auto result = kernels::svd_vjp(
      tensor_or_undefined(U_cotangent),
      tensor_or_undefined(singular_values_cotangent),
      tensor_or_undefined(Vh_cotangent),
      U,
      singular_values,
      Vh,
      Rule::parse(rule, parameters));
  if (result.suspicious) {
    // Only for its judgement. The gradient is that of the kernel, or it would depend on the other matrices.
    by_tensor_code();
  }
  return std::move(result.gradient);
}

Tensor svd_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& U,
    const Tensor&,
    const Tensor& Vh,
    std::string_view,
    RuleParameters,
    std::string_view) {
  auto shape = U.sym_sizes().vec();
  shape.back() = Vh.sym_size(-1);
  return at::empty_symint(shape, U.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::svd_vjp", svd_vjp_meta> svd_vjp_op;

} // namespace

Tensor svd_vjp(
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    const Rule& rule) {
  if (!U_cotangent.defined() && !singular_values_cotangent.defined() && !Vh_cotangent.defined()) {
    return {};
  }
  return svd_vjp_op.call(
      optional(U_cotangent),
      optional(singular_values_cotangent),
      optional(Vh_cotangent),
      U,
      singular_values,
      Vh,
      rule.name(),
      rule.parameters(),
      caller_name("svd"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "svd_vjp(Tensor? U_cotangent, Tensor? singular_values_cotangent, Tensor? Vh_cotangent, Tensor U, "
      "Tensor singular_values, Tensor Vh, str rule, float[] parameters, str caller=\"svd\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svd_vjp", svd_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("svd_vjp", svd_vjp_on_cpu);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svd_vjp", svd_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svd_vjp", svd_vjp_op.tensor_code_kernel<svd_vjp_kernel, autograd::is_differentiated>());
}

} // namespace spectralgrad::ops
