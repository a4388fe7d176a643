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
constexpr size_t second_direction = 5;

[[noreturn]] void refuse_third_order() {
  TORCH_CHECK(
      false,
      "spectralgrad: Expected a function of a matrix to be differentiated at most twice in the matrix, but a third "
      "derivative was asked for");
}

variable_list with(variable_list inputs, size_t place, const Tensor& x) {
  inputs[place] = x;
  return inputs;
}

/// Returns `inputs` with one more direction. Raises if they have two already.
variable_list with_direction(const variable_list& inputs, const Tensor& direction) {
  if (inputs[second_direction].defined()) {
    refuse_third_order();
  }
  return with(inputs, inputs[first_direction].defined() ? second_direction : first_direction, direction);
}

/// Returns `inputs` with `direction` before its other direction. Raises if they have two already.
variable_list with_direction_before(variable_list inputs, const Tensor& direction) {
  if (inputs[second_direction].defined()) {
    refuse_third_order();
  }
  inputs[second_direction] = inputs[first_direction];
  inputs[first_direction] = direction;
  return inputs;
}

void add(Tensor& sum, const Tensor& term) {
  sum = sum.defined() ? sum + term : term;
}

/// The last backward pass of this thread that went through a derivative of a function of a matrix; PyTorch numbers the
/// passes from 0.
thread_local int second_order_pass = -1;

/// The kind of the cotangent of a function of a matrix, or of a derivative of it. In a pass for second derivatives, the
/// cotangents of functions are changes of those that the first pass has judged. That pass reaches derivatives first,
/// because their nodes are newer.
DirectionKind kind_of_cotangent(bool is_derivative) {
  const auto pass = torch::autograd::get_current_graph_task_id();
  if (is_derivative) {
    second_order_pass = pass;
    return DirectionKind::cotangent;
  }
  return pass != -1 && pass == second_order_pass ? DirectionKind::change : DirectionKind::cotangent;
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
  const auto parameters =
      math::with_direction_kind(options.function, options.parameters, kind_of_cotangent(x[first_direction].defined()));
  const auto call = [&](const variable_list& inputs) {
    return ops::call_spectral_function(inputs, options.function, parameters);
  };
  if (saved.needed[A]) {
    result[A] = call(with_direction(x, G));
  }
  if (x[jets].defined() && saved.needed[jets]) {
    result[jets] = ops::call_spectral_function_transposed(with_direction_before(x, G));
  }
  for (const auto place : {first_direction, second_direction}) {
    if (x[place].defined() && saved.needed[place]) {
      result[place] = call(with(x, place, G));
    }
  }
  return result;
}

variable_list SpectralFunction::jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
  const auto& x = saved.inputs;
  const auto call = [&](const variable_list& inputs, DirectionKind kind) {
    const auto parameters = math::with_direction_kind(options.function, options.parameters, kind);
    return ops::call_spectral_function(inputs, options.function, parameters);
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
  for (const auto place : {first_direction, second_direction}) {
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
  if (saved.needed[first_direction]) {
    result[first_direction] = call(
        with(with(with_jets, first_direction, x[second_direction]), second_direction, Tensor()));
  }
  if (x[second_direction].defined() && saved.needed[second_direction]) {
    result[second_direction] = call(with(with_jets, second_direction, Tensor()));
  }
  return result;
}

variable_list SpectralFunctionTransposed::jvp(const variable_list& tangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  Tensor sum;
  if (tangents[A].defined()) {
    add(sum, ops::call_spectral_function_transposed(with_direction(x, tangents[A])));
  }
  for (const auto place : {first_direction, second_direction}) {
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
        {x[A], x[1], x[eigenvectors], derivative_of(x[jets]), Tensor(), Tensor()},
        "jets",
        {});
    result[A] = scalar * slope;
  }
  if (saved.needed[jets]) {
    // The transpose with the identity as E_0.
    const auto multiple = at::diag_embed(at::ones_like(x[1])) * scalar;
    result[jets] = ops::call_spectral_function_transposed(
        {x[A], x[1], x[eigenvectors], x[jets], multiple.to(x[eigenvectors].scalar_type()), Tensor()});
  }
  return result;
}

variable_list SpectralTrace::jvp(const variable_list& tangents, const Saved& saved, const Options&) {
  const auto& x = saved.inputs;
  Tensor sum;
  if (tangents[A].defined()) {
    const auto slope = ops::call_spectral_function(
        {x[A], x[1], x[eigenvectors], derivative_of(x[jets]), Tensor(), Tensor()},
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
