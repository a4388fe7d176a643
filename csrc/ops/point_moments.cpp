#include "ops/point_moments.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_state.h"
#include "core/optional_tensor.h"
#include "ops/arguments.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <torch/library.h>

#include <array>
#include <tuple>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Gradients = std::tuple<Tensor, Tensor, Tensor>;

constexpr const char* function = "rigid_alignment";

void check_weights(const Tensor& weights) {
  const auto good = at::isfinite(weights).logical_and(weights >= 0);
  if (good.all().item<bool>()) {
    return;
  }
  const auto first = good.reshape({-1, weights.size(-1)}).logical_not().nonzero()[0];
  const auto matrix = first[0].item<int64_t>();
  const auto point = first[1].item<int64_t>();
  TORCH_CHECK_VALUE(
      false,
      "spectralgrad.",
      function,
      ": ",
      batch_element(weights.dim() > 1, matrix),
      "Expected weights to be finite and not negative, but weight ",
      point,
      " is ",
      weights.reshape({-1, weights.size(-1)})[matrix][point].item());
}

void check_values(const Tensor& source, const Tensor& target, const Tensor& weights) {
  if (checks() == Checks::ignore) {
    return;
  }
  check_all_finite(function, source, "source");
  check_all_finite(function, target, "target");
  if (weights.defined()) {
    check_weights(weights);
  }
}

Results moments_kernel(const Tensor& source, const Tensor& target, const OptionalTensor& weights) {
  const autograd::TensorCode tensor_code;
  const auto w = tensor_or_undefined(weights);
  check_values(source, target, w);
  auto [a, b, covariance, variance, noise, units] = math::point_moments(source, target, w);
  return {std::move(a), std::move(b), std::move(covariance), std::move(variance), std::move(noise), std::move(units)};
}

Results moments_meta(const Tensor& source, const Tensor&, const OptionalTensor&) {
  const auto shape = source.sym_sizes();
  const auto empty = [&](std::initializer_list<c10::SymInt> trailing) {
    auto sizes = shape.slice(0, shape.size() - 2).vec();
    sizes.insert(sizes.end(), trailing);
    return at::empty_symint(sizes, source.options());
  };
  const auto d = shape.back();
  return {empty({d}), empty({d}), empty({d, d}), empty({}), empty({}), empty({3})};
}

constexpr autograd::OperatorHandle<"spectralgrad::point_moments", moments_kernel> moments_op;

/// The gradient of absent weights is like that of present ones, and is not used.
Gradients vjp_kernel(
    const OptionalTensor& source_center_cotangent,
    const OptionalTensor& target_center_cotangent,
    const OptionalTensor& covariance_cotangent,
    const OptionalTensor& variance_cotangent,
    const Tensor& source,
    const Tensor& target,
    const OptionalTensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units) {
  const autograd::TensorCode tensor_code;
  auto [of_source, of_target, of_weights] = math::point_moments_vjp(
      {tensor_or_undefined(source_center_cotangent),
       tensor_or_undefined(target_center_cotangent),
       tensor_or_undefined(covariance_cotangent),
       tensor_or_undefined(variance_cotangent)},
      source,
      target,
      tensor_or_undefined(weights),
      source_center,
      target_center,
      units);
  if (!of_weights.defined()) {
    of_weights = source.new_zeros_symint(source.sym_sizes().slice(0, source.dim() - 1));
  }
  return {of_source.contiguous(), of_target.contiguous(), of_weights.contiguous()};
}

Gradients vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& source,
    const Tensor& target,
    const OptionalTensor&,
    const Tensor&,
    const Tensor&,
    const Tensor&) {
  const auto empty = [&](c10::SymIntArrayRef shape) {
    return at::empty_symint(shape, source.options());
  };
  return {empty(source.sym_sizes()), empty(target.sym_sizes()), empty(source.sym_sizes().slice(0, source.dim() - 1))};
}

constexpr autograd::OperatorHandle<"spectralgrad::point_moments_vjp", vjp_meta> vjp_op;

struct DifferentiableMoments {
  static constexpr const char* name = "PointMoments";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;
  using Options = autograd::NoOptions;

  /// The inputs are the points and the weights, which may be undefined.
  static variable_list forward(const variable_list& inputs, const Options&) {
    auto results = moments_op.call(inputs[0], inputs[1], optional(inputs[2]));
    return std::apply([](auto&... x) { return variable_list{std::move(x)...}; }, results);
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options&) {
    if (!cotangents[0].defined() && !cotangents[1].defined() && !cotangents[2].defined() && !cotangents[3].defined()) {
      return variable_list(3);
    }
    const auto& x = saved.inputs;
    auto [of_source, of_target, of_weights] = vjp_op.call(
        optional(cotangents[0]),
        optional(cotangents[1]),
        optional(cotangents[2]),
        optional(cotangents[3]),
        x[0],
        x[1],
        optional(x[2]),
        saved.outputs[0],
        saved.outputs[1],
        autograd::constant(saved.outputs[5]));
    return {of_source, of_target, x[2].defined() ? of_weights : Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options&) {
    const auto& x = saved.inputs;
    auto [a, b, covariance, variance] = math::point_moments_jvp(
        {tangents[0], tangents[1], tangents[2]},
        x[0],
        x[1],
        x[2],
        saved.outputs[0],
        saved.outputs[1],
        autograd::constant(saved.outputs[5]));
    return {a, b, covariance, variance, {}, {}};
  }
};

Results moments_autograd(const Tensor& source, const Tensor& target, const OptionalTensor& weights) {
  const autograd::CallerState caller;
  auto x = autograd::differentiable<DifferentiableMoments>({source, target, tensor_or_undefined(weights)}, {});
  return {x[0], x[1], x[2], x[3], x[4], x[5]};
}

} // namespace

math::PointMoments point_moments(const Tensor& source, const Tensor& target, const Tensor& weights) {
  auto [a, b, covariance, variance, noise, units] = moments_op.call(source, target, optional(weights));
  return {a, b, covariance, variance, autograd::recorded_constant(noise), autograd::recorded_constant(units)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "point_moments(Tensor source, Tensor target, Tensor? weights) -> (Tensor source_center, Tensor target_center, "
      "Tensor covariance, Tensor variance, Tensor noise, Tensor units)");
  library.def(
      "point_moments_vjp(Tensor? source_center_cotangent, Tensor? target_center_cotangent, "
      "Tensor? covariance_cotangent, Tensor? variance_cotangent, Tensor source, Tensor target, Tensor? weights, "
      "Tensor source_center, Tensor target_center, Tensor units) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("point_moments", moments_kernel);
  library.impl("point_moments_vjp", vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("point_moments", moments_meta);
  library.impl("point_moments_vjp", vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("point_moments", moments_autograd);
  library.impl("point_moments_vjp", vjp_op.tensor_code_kernel<vjp_kernel, autograd::is_differentiated>());
}

} // namespace spectralgrad::ops
