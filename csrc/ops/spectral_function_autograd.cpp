#include "ops/spectral_function_autograd.h"

#include "math/divided_differences.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/graph_task.h>

namespace spectralgrad::autograd {
namespace {

using math::DirectionKind;

// Indices of the inputs.
constexpr size_t A = 0;
constexpr size_t eigenvectors = 2;
constexpr size_t jets = 3;
constexpr size_t first_direction = 4;
constexpr size_t third_direction = 6;

[[noreturn]] void refuse_fourth_order() {
  TORCH_CHECK(
      false,
      "spectralgrad: Expected a function of a matrix to be differentiated at most three times in the matrix, but a "
      "fourth derivative was asked for");
}

variable_list with(variable_list inputs, size_t place, const Tensor& x) {
  inputs[place] = x;
  return inputs;
}

/// Returns `inputs` with one more direction. Raises if they have three already.
variable_list with_direction(const variable_list& inputs, const Tensor& direction) {
  for (auto place = first_direction; place <= third_direction; ++place) {
    if (!inputs[place].defined()) {
      return with(inputs, place, direction);
    }
  }
  refuse_fourth_order();
}

/// Returns `inputs` with `direction` before the other directions. Raises if they have three already.
variable_list with_direction_before(variable_list inputs, const Tensor& direction) {
  if (inputs[third_direction].defined()) {
    refuse_fourth_order();
  }
  inputs.insert(inputs.begin() + first_direction, direction);
  inputs.pop_back();
  return inputs;
}

/// Returns `inputs` without the direction at `place`. The directions behind it move up.
variable_list without_direction(variable_list inputs, size_t place) {
  inputs.erase(inputs.begin() + static_cast<int64_t>(place));
  inputs.emplace_back();
  return inputs;
}

void add(Tensor& sum, const Tensor& term) {
  sum = sum.defined() ? sum + term : term;
}

/// The number of directions among `inputs`.
int64_t order_of(const variable_list& inputs) {
  int64_t order = 0;
  for (auto place = first_direction; place <= third_direction; ++place) {
    order += inputs[place].defined() ? 1 : 0;
  }
  return order;
}

/// The last backward pass of this thread that went through a derivative of a function of a matrix (PyTorch numbers the
/// passes from 0), and the highest order of such a derivative in it.
thread_local int pass_of_derivatives = -1;
thread_local int64_t highest_order_in_pass = 0;

/// The kind of the cotangent of D_m, m = `order`. In a pass for derivatives of a higher order, the cotangents of D_m
/// are changes of those that an earlier pass has judged. The highest order comes first in a pass, because its nodes are
/// the newest.
DirectionKind kind_of_cotangent(int64_t order) {
  const auto pass = torch::autograd::get_current_graph_task_id();
  if (pass == -1) {
    return DirectionKind::cotangent;
  }
  const auto highest = pass == pass_of_derivatives ? highest_order_in_pass : 0;
  if (order > highest) {
    pass_of_derivatives = pass;
    highest_order_in_pass = order;
  }
  return order < highest ? DirectionKind::change : DirectionKind::cotangent;
}

/// The parameters of a derivative whose last direction is of that kind. A derivative along a change remains one if
/// directions are added: added tangents and cotangents are judged on their own, in the derivatives without the change.
std::vector<double> with_kind(const SpectralFunction::Options& options, DirectionKind kind) {
  const bool is_along_change = math::direction_kind({options.function, options.parameters, {}}) ==
      DirectionKind::change;
  return math::with_direction_kind(
      options.function,
      options.parameters,
      is_along_change ? DirectionKind::change : kind);
}

/// The jets of f', from those of f.
Tensor derivative_of(const Tensor& jets_of_f) {
  return jets_of_f.slice(-2, 1);
}

} // namespace

// --- D_m -------------------------------------------------------------------------------------------------------------

void SpectralFunction::Options::save(Dictionary& dictionary) const {
  dictionary["function"] = function;
  dictionary["parameters"] = parameters;
}

SpectralFunction::Options SpectralFunction::Options::load(const Dictionary& dictionary) {
  return {dictionary.at("function").toStringRef(), dictionary.at("parameters").toDoubleVector()};
}

variable_list SpectralFunction::forward(const variable_list& inputs, const Options& options) {
  return {ops::call_spectral_function(inputs, options.function, options.parameters)};
}

variable_list SpectralFunction::vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
  const auto& x = saved.inputs;
  const auto& G = cotangents[0];
  variable_list result(x.size());
  if (!G.defined()) {
    return result;
  }
  const auto parameters = with_kind(options, kind_of_cotangent(order_of(x)));
  const auto call = [&](const variable_list& inputs) {
    return ops::call_spectral_function(inputs, options.function, parameters);
  };
  for (auto place = first_direction; place <= third_direction; ++place) {
    if (x[place].defined() && saved.needed[place]) {
      result[place] = call(with(x, place, G));
    }
  }
  if (x[jets].defined() && saved.needed[jets]) {
    result[jets] = ops::call_spectral_function_transposed(with_direction_before(x, G));
  }
  // Computed last, so that a pass through this graph reaches the derivative of the highest order first
  // (`kind_of_cotangent`).
  if (saved.needed[A]) {
    result[A] = call(with_direction(x, G));
  }
  return result;
}

variable_list SpectralFunction::jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
  const auto& x = saved.inputs;
  const auto call = [&](const variable_list& inputs, DirectionKind kind) {
    return ops::call_spectral_function(inputs, options.function, with_kind(options, kind));
  };
  Tensor sum;
  if (tangents[A].defined()) {
    add(sum, call(with_direction(x, tangents[A]), DirectionKind::tangent));
  }
  if (tangents[jets].defined()) {
    // The change of f is known by its jets only.
    const auto name = options.function == "steps" ? "steps" : "jets";
    add(sum, ops::call_spectral_function(with(x, jets, tangents[jets]), name, {}));
  }
  for (auto place = first_direction; place <= third_direction; ++place) {
    if (tangents[place].defined()) {
      add(sum, call(with(x, place, tangents[place]), DirectionKind::change));
    }
  }
  return {sum};
}

// --- its transpose in the jets ---------------------------------------------------------------------------------------

variable_list SpectralFunctionTransposed::forward(const variable_list& inputs, const Options&) {
  return {ops::call_spectral_function_transposed(inputs)};
}

variable_list SpectralFunctionTransposed::vjp(const variable_list& cotangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  variable_list result(x.size());
  if (!cotangents[0].defined()) {
    return result;
  }
  // The pairing of the result with jets c equals the pairing of E_0 with D_m of the function with jets c.
  const auto with_jets = with(x, jets, cotangents[0]);
  const auto call = [&](const variable_list& inputs) {
    return ops::call_spectral_function(inputs, "jets", {});
  };
  if (saved.needed[A]) {
    result[A] = call(with_jets);
  }
  for (auto place = first_direction; place <= third_direction; ++place) {
    if (x[place].defined() && saved.needed[place]) {
      result[place] = call(without_direction(with_jets, place));
    }
  }
  return result;
}

variable_list SpectralFunctionTransposed::jvp(const variable_list& tangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  Tensor sum;
  if (tangents[A].defined()) {
    add(sum, ops::call_spectral_function_transposed(with_direction(x, tangents[A])));
  }
  for (auto place = first_direction; place <= third_direction; ++place) {
    if (tangents[place].defined()) {
      add(sum, ops::call_spectral_function_transposed(with(x, place, tangents[place])));
    }
  }
  return {sum};
}

// --- the trace -------------------------------------------------------------------------------------------------------

variable_list SpectralTrace::forward(const variable_list& inputs, const Options&) {
  return {ops::call_spectral_trace(inputs)};
}

variable_list SpectralTrace::vjp(const variable_list& cotangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  variable_list result(x.size());
  const auto& g = cotangents[0];
  if (!g.defined()) {
    return result;
  }
  const auto scalar = g.unsqueeze(-1).unsqueeze(-1);
  if (saved.needed[A]) {
    const auto slope = ops::call_spectral_function(
        {x[A], x[1], x[eigenvectors], derivative_of(x[jets]), Tensor(), Tensor(), Tensor()},
        "jets",
        {});
    result[A] = scalar * slope;
  }
  if (saved.needed[jets]) {
    // The transpose with the identity as E_0.
    const auto multiple = at::diag_embed(at::ones_like(x[1])) * scalar;
    result[jets] = ops::call_spectral_function_transposed(
        {x[A], x[1], x[eigenvectors], x[jets], multiple.to(x[eigenvectors].scalar_type()), Tensor(), Tensor()});
  }
  return result;
}

variable_list SpectralTrace::jvp(const variable_list& tangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  Tensor sum;
  if (tangents[A].defined()) {
    const auto slope = ops::call_spectral_function(
        {x[A], x[1], x[eigenvectors], derivative_of(x[jets]), Tensor(), Tensor(), Tensor()},
        "jets",
        {});
    add(sum, at::real(slope.conj() * tangents[A]).sum(at::IntArrayRef{-2, -1}));
  }
  if (tangents[jets].defined()) {
    add(sum, ops::call_spectral_trace(with(x, jets, tangents[jets])));
  }
  return {sum};
}

} // namespace spectralgrad::autograd
