#include "ops/eigh_vjp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/second_order.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "kernels/eigh_vjp/eigh_vjp.h"
#include "math/eigh.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/eigh_vjp_jvp.h"
#include "ops/eigh_vjp_vjp.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;

template <auto function>
Tensor eigh_vjp_with(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return function(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      Rule::parse(rule, parameters));
}

Tensor eigh_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_vjp", eigh_vjp_meta> eigh_vjp_op;

/// `eigh_vjp` as an operation for autograd/differentiable_op.h. Inputs: {g_lambda, gV, lambda, V}; output: {gA}.
struct EighVjp {
  static constexpr const char* name = "EighVjp";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;

  struct Options : DerivativeOptions {
    static Options load(const autograd::Dictionary& dictionary) {
      return {load_base(dictionary)};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {eigh_vjp_op.call(
        optional(inputs[0]),
        optional(inputs[1]),
        inputs[2],
        inputs[3],
        options.rule.name(),
        options.rule.parameters(),
        options.caller)};
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.inputs;
    auto cotangent = cotangents[0];
    if (!cotangent.defined()) {
      return variable_list(4);
    }
    if (saved.needed[2] || saved.needed[3]) {
      cotangent = autograd::warn_of_second_order(cotangent, x[2]);
    }
    auto [of_gL, of_gV, of_L, of_V] = eigh_vjp_vjp(cotangent, {x[0], x[1], x[2], x[3]}, options.rule);
    return {x[0].defined() ? of_gL : Tensor(), std::move(of_gV), std::move(of_L), std::move(of_V)};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.inputs;
    auto result =
        eigh_vjp_jvp({tangents[0], tangents[1], tangents[2], tangents[3]}, {x[0], x[1], x[2], x[3]}, options.rule);
    const bool is_second = result.defined() && (tangents[2].defined() || tangents[3].defined());
    return {is_second ? autograd::warn_of_second_order(result, x[2]) : result};
  }
};

Tensor eigh_vjp_autograd(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::CallerState caller_state;
  return autograd::differentiable<EighVjp>(
      {tensor_or_undefined(eigenvalues_cotangent),
       tensor_or_undefined(eigenvectors_cotangent),
       eigenvalues,
       eigenvectors},
      {{Rule::parse(rule, parameters), std::string(caller)}})[0];
}

} // namespace

Tensor eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  return eigh_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      rule.name(),
      rule.parameters(),
      caller_name());
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, str rule, float[] parameters, str caller=\"eigh\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_vjp", eigh_vjp_with<math::eigh_vjp>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_vjp", eigh_vjp_with<kernels::eigh_vjp>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_vjp", eigh_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_vjp", eigh_vjp_autograd);
}

} // namespace spectralgrad::ops
