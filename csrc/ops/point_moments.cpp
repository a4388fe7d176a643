#include "ops/point_moments.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "autograd/variable_lists.h"
#include "core/caller_state.h"
#include "core/optional_tensor.h"
#include "kernels/point_moments/point_moments.h"
#include "ops/arguments.h"
#include "ops/empty_gradient.h"

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
using Moments = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using MomentGradients = std::tuple<Tensor, Tensor, Tensor>;

constexpr const char* rigid_alignment_name = "rigid_alignment";

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
      rigid_alignment_name,
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
  check_all_finite(rigid_alignment_name, source, "source");
  check_all_finite(rigid_alignment_name, target, "target");
  if (weights.defined()) {
    check_weights(weights);
  }
}

Moments moments_kernel(const Tensor& source, const Tensor& target, const OptionalTensor& weights) {
  const autograd::TensorCode tensor_code;
  const auto w = tensor_or_undefined(weights);
  check_values(source, target, w);
  auto [a, b, covariance, variance, noise, units] = math::point_moments(source, target, w);
  return {std::move(a), std::move(b), std::move(covariance), std::move(variance), std::move(noise), std::move(units)};
}

Moments moments_meta(const Tensor& source, const Tensor&, const OptionalTensor&) {
  const auto shape = source.sym_sizes();
  const auto empty = [&](std::initializer_list<c10::SymInt> trailing) {
    auto sizes = shape.slice(0, shape.size() - 2).vec();
    sizes.insert(sizes.end(), trailing);
    return at::empty_symint(sizes, source.options());
  };
  const auto& d = shape.back();
  return {empty({d}), empty({d}), empty({d, d}), empty({}), empty({}), empty({3})};
}

Moments moments_on_cpu(const Tensor& source, const Tensor& target, const OptionalTensor& weights) {
  if (!kernels::clouds_go_to_lanes(source)) {
    return moments_kernel(source, target, weights);
  }
  const autograd::TensorCode tensor_code;
  const auto w = tensor_or_undefined(weights);
  auto [x, bad] = kernels::point_moments(source, target, w);
  if (bad) {
    check_values(source, target, w);
  }
  return {x[0], x[1], x[2], x[3], x[4], x[5]};
}

constexpr autograd::OperatorHandle<"spectralgrad::point_moments", moments_kernel> moments_op;

/// Gradients that are not needed have no entries: their last dimension is 0.
using Needed = std::array<bool, 3>;

using MomentCotangents = std::array<Tensor, 4>;
using Vjp = std::array<Tensor, 3>(
    const MomentCotangents&,
    const Tensor& source,
    const Tensor& target,
    const Tensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units,
    const Needed& needed);

/// `math::point_moments_vjp` computes all gradients.
std::array<Tensor, 3> moments_vjp_by_tensor_code(
    const MomentCotangents& cotangents,
    const Tensor& source,
    const Tensor& target,
    const Tensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units,
    const Needed& /*needed*/) {
  return math::point_moments_vjp(cotangents, source, target, weights, source_center, target_center, units);
}

std::array<Tensor, 3> moments_vjp_on_cpu(
    const MomentCotangents& cotangents,
    const Tensor& source,
    const Tensor& target,
    const Tensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units,
    const Needed& needed) {
  const auto& vjp = kernels::clouds_go_to_lanes(source) ? kernels::point_moments_vjp : moments_vjp_by_tensor_code;
  return vjp(cotangents, source, target, weights, source_center, target_center, units, needed);
}

template <Vjp* vjp>
MomentGradients moments_vjp_with(
    const OptionalTensor& source_center_cotangent,
    const OptionalTensor& target_center_cotangent,
    const OptionalTensor& covariance_cotangent,
    const OptionalTensor& variance_cotangent,
    const Tensor& source,
    const Tensor& target,
    const OptionalTensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units,
    Needed needed) {
  const autograd::TensorCode tensor_code;
  const auto gradients = vjp(
      {tensor_or_undefined(source_center_cotangent),
       tensor_or_undefined(target_center_cotangent),
       tensor_or_undefined(covariance_cotangent),
       tensor_or_undefined(variance_cotangent)},
      source,
      target,
      tensor_or_undefined(weights),
      source_center,
      target_center,
      units,
      needed);
  const auto if_needed = [&](size_t i, const Tensor& like) {
    return needed[i] && gradients[i].defined() ? gradients[i].contiguous() : empty_gradient(false, like);
  };
  return {if_needed(0, source), if_needed(1, target), if_needed(2, source.select(-1, 0))};
}

MomentGradients moments_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& source,
    const Tensor& target,
    const OptionalTensor& weights,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    Needed needed) {
  return {
      empty_gradient(needed[0], source),
      empty_gradient(needed[1], target),
      empty_gradient(needed[2] && weights, source.select(-1, 0))};
}

constexpr autograd::OperatorHandle<"spectralgrad::point_moments_vjp", moments_vjp_meta> moments_vjp_op;

struct DifferentiableMoments {
  static constexpr const char* name = "PointMoments";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;
  using Options = autograd::NoOptions;

  /// The inputs are the points and the weights, which may be undefined.
  static variable_list forward(const variable_list& inputs, const Options&) {
    return autograd::to_list(moments_op.call(inputs[0], inputs[1], optional(inputs[2])));
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options&) {
    if (!cotangents[0].defined() && !cotangents[1].defined() && !cotangents[2].defined() && !cotangents[3].defined()) {
      return variable_list(3);
    }
    const auto& x = saved.inputs;
    auto [of_source, of_target, of_weights] = moments_vjp_op.call(
        optional(cotangents[0]),
        optional(cotangents[1]),
        optional(cotangents[2]),
        optional(cotangents[3]),
        x[0],
        x[1],
        optional(x[2]),
        saved.outputs[0],
        saved.outputs[1],
        autograd::constant(saved.outputs[5]),
        {saved.needed[0], saved.needed[1], saved.needed[2]});
    const auto if_needed = [&](size_t i, const Tensor& gradient) {
      return saved.needed[i] && x[i].defined() ? gradient : Tensor();
    };
    return {if_needed(0, of_source), if_needed(1, of_target), if_needed(2, of_weights)};
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

Moments moments_autograd(const Tensor& source, const Tensor& target, const OptionalTensor& weights) {
  const autograd::CallerState caller;
  return autograd::from_list<Moments>(
      autograd::differentiable<DifferentiableMoments>({source, target, tensor_or_undefined(weights)}, {}));
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
      "Tensor source_center, Tensor target_center, Tensor units, bool[3] needed) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("point_moments", moments_kernel);
  library.impl("point_moments_vjp", moments_vjp_with<moments_vjp_by_tensor_code>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("point_moments", moments_on_cpu);
  library.impl("point_moments_vjp", moments_vjp_with<moments_vjp_on_cpu>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("point_moments", moments_meta);
  library.impl("point_moments_vjp", moments_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("point_moments", moments_autograd);
  library.impl(
      "point_moments_vjp",
      autograd::recomputed_kernel<moments_vjp_op, moments_vjp_with<moments_vjp_by_tensor_code>>());
}

} // namespace spectralgrad::ops
