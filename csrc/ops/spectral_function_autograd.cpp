#include "core/caller_state.h"
#include "core/optional_tensor.h"
#include "math/divided_differences.h"
#include "ops/spectral_function.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <string>
#include <vector>

// The derivatives of the operators of ops/spectral_function.h, in terms of each other. math/spectral_function.h has the
// formulas.
namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Saved;
using autograd::variable_list;
using math::DirectionKind;

// Indices of the inputs.
constexpr size_t A = 0;
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

/// D_m. Inputs as for `call_spectral_function`.
struct SpectralFunction {
  static constexpr const char* name = "SpectralFunction";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  struct Options {
    std::string function;
    std::vector<double> parameters;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["function"] = function;
      dictionary["parameters"] = parameters;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("function").toStringRef(), dictionary.at("parameters").toDoubleVector()};
    }
  };

  /// The parameters of a derivative whose last direction is of that kind. A derivative along a change remains one if
  /// directions are added. Added tangents and cotangents are judged on their own, in derivatives without the change.
  static std::vector<double> with_kind(const Options& options, DirectionKind kind) {
    const bool is_along_change = math::direction_kind({options.function, options.parameters, {}}) ==
        DirectionKind::change;
    return math::with_direction_kind(
        options.function,
        options.parameters,
        is_along_change ? DirectionKind::change : kind);
  }

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {call_spectral_function(inputs, options.function, options.parameters)};
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    const auto& G = cotangents[0];
    variable_list result(x.size());
    if (!G.defined()) {
      return result;
    }
    const auto parameters = with_kind(options, kind_of_cotangent(order_of(x)));
    const auto call = [&](const variable_list& inputs) {
      return call_spectral_function(inputs, options.function, parameters);
    };
    for (auto place = first_direction; place <= third_direction; ++place) {
      if (x[place].defined() && saved.needed[place]) {
        result[place] = call(with(x, place, G));
      }
    }
    if (x[jets].defined() && saved.needed[jets]) {
      result[jets] = call_spectral_function_transposed(with_direction_before(x, G));
    }
    // Computed last, so that a pass through this graph reaches the derivative of the highest order first
    // (`kind_of_cotangent`).
    if (saved.needed[A]) {
      result[A] = call(with_direction(x, G));
    }
    return result;
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    const auto call = [&](const variable_list& inputs, DirectionKind kind) {
      return call_spectral_function(inputs, options.function, with_kind(options, kind));
    };
    Tensor sum;
    if (tangents[A].defined()) {
      add(sum, call(with_direction(x, tangents[A]), DirectionKind::tangent));
    }
    if (tangents[jets].defined()) {
      // The change of f is known by its jets only.
      const auto name = options.function == "steps" ? "steps" : "jets";
      add(sum, call_spectral_function(with(x, jets, tangents[jets]), name, {}));
    }
    for (auto place = first_direction; place <= third_direction; ++place) {
      if (tangents[place].defined()) {
        add(sum, call(with(x, place, tangents[place]), DirectionKind::change));
      }
    }
    return {sum};
  }
};

/// The transpose of D_m in the jets. Inputs as for `call_spectral_function_transposed`.
struct SpectralFunctionTransposed {
  static constexpr const char* name = "SpectralFunctionTransposed";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  using Options = autograd::NoOptions;

  static variable_list forward(const variable_list& inputs, const Options&) {
    return {call_spectral_function_transposed(inputs)};
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options&) {
    const auto& x = saved.inputs;
    variable_list result(x.size());
    if (!cotangents[0].defined()) {
      return result;
    }
    // The pairing of the result with jets c equals the pairing of E_0 with D_m of the function with jets c.
    const auto with_jets = with(x, jets, cotangents[0]);
    const auto call = [&](const variable_list& inputs) {
      return call_spectral_function(inputs, "jets", {});
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

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options&) {
    const auto& x = saved.inputs;
    Tensor sum;
    if (tangents[A].defined()) {
      add(sum, call_spectral_function_transposed(with_direction(x, tangents[A])));
    }
    for (auto place = first_direction; place <= third_direction; ++place) {
      if (tangents[place].defined()) {
        add(sum, call_spectral_function_transposed(with(x, place, tangents[place])));
      }
    }
    return {sum};
  }
};

Tensor spectral_function_autograd(
    const Tensor& A,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const OptionalTensor& jets,
    const OptionalTensor& first_direction,
    const OptionalTensor& second_direction,
    std::string_view function,
    c10::ArrayRef<double> parameters,
    const OptionalTensor& third_direction) {
  const autograd::CallerState caller;
  return autograd::differentiable<SpectralFunction>(
      {place_in_graph(A, eigenvectors),
       eigenvalues,
       eigenvectors,
       tensor_or_undefined(jets),
       tensor_or_undefined(first_direction),
       tensor_or_undefined(second_direction),
       tensor_or_undefined(third_direction)},
      {std::string(function), parameters.vec()})[0];
}

Tensor transposed_autograd(
    const Tensor& A,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& jets,
    const Tensor& first_direction,
    const OptionalTensor& second_direction,
    const OptionalTensor& third_direction) {
  return autograd::differentiable<SpectralFunctionTransposed>(
      {place_in_graph(A, eigenvectors),
       eigenvalues,
       eigenvectors,
       jets,
       first_direction,
       tensor_or_undefined(second_direction),
       tensor_or_undefined(third_direction)},
      {})[0];
}

} // namespace

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("spectral_function", spectral_function_autograd);
  library.impl("spectral_function_transposed", transposed_autograd);
}

} // namespace spectralgrad::ops
