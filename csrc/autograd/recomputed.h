#pragma once

#include "autograd/differentiable_op.h"
#include "autograd/second_order.h"
#include "autograd/variable_lists.h"
#include "core/caller_state.h"
#include "core/optional_tensor.h"

#include <spectralgrad/checks.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/alias.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

// Derivatives of operators that are themselves derivatives and have a fast kernel. Usually nobody asks for them:
// create_graph=True and torch.func record every derivative. So the kernel computes the value, and only a second
// derivative runs the operator's tensor code, and differentiates that.
namespace spectralgrad::autograd {

/// How long-lived options keep an argument of an operator. Tensors are kept apart.
template <typename Argument>
struct Owned {
  using type = Argument;
};
template <>
struct Owned<Tensor> {
  using type = std::monostate;
};
template <>
struct Owned<OptionalTensor> {
  using type = std::monostate;
};
template <>
struct Owned<std::string_view> {
  using type = std::string;
};
template <typename T>
struct Owned<c10::ArrayRef<T>> {
  using type = std::vector<T>;
};

/// The operator `op`, an OperatorHandle, as an operation for `differentiable`. `tensor_code` has the arguments of the
/// operator, and all of its results are tensors.
template <const auto& op, auto tensor_code, typename Function = decltype(tensor_code)>
struct Recomputed;

template <const auto& op, auto tensor_code, typename Result, typename... Arguments>
struct Recomputed<op, tensor_code, Result (*)(Arguments...)> {
  static constexpr const char* name = op.operator_name();
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;

  static constexpr size_t count = sizeof...(Arguments);
  static constexpr std::array<bool, count> is_tensor{
      std::is_same_v<typename Owned<std::decay_t<Arguments>>::type, std::monostate>...};

  struct Options {
    std::tuple<typename Owned<std::decay_t<Arguments>>::type...> arguments;

    void save(Dictionary& dictionary) const {
      for_each_index([&](auto i) {
        if constexpr (!is_tensor[i]) {
          dictionary[std::to_string(i)] = std::get<i>(arguments);
        }
      });
    }
    static Options load(const Dictionary& dictionary) {
      Options options;
      for_each_index([&](auto i) {
        if constexpr (!is_tensor[i]) {
          auto& argument = std::get<i>(options.arguments);
          argument = dictionary.at(std::to_string(i)).template to<std::decay_t<decltype(argument)>>();
        }
      });
      return options;
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return call([](auto&&... arguments) { return to_list(op.call(arguments...)); }, inputs, options);
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const bool create_graph = at::GradMode::is_enabled();
    const at::AutoGradMode enabled(true);
    variable_list inputs;
    for (const auto& x : saved.inputs) {
      inputs.push_back(x.defined() && x.requires_grad() ? differentiable_alias(x) : x);
    }
    const auto outputs = tensor_code_outputs(inputs, options);
    variable_list differentiated;
    variable_list given;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (cotangents[i].defined() && outputs[i].requires_grad()) {
        differentiated.push_back(outputs[i]);
        given.push_back(cotangents[i]);
      }
    }
    std::vector<size_t> places;
    variable_list wanted;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (saved.needed[i] && inputs[i].defined() && inputs[i].requires_grad()) {
        places.push_back(i);
        wanted.push_back(inputs[i]);
      }
    }
    variable_list result(inputs.size());
    if (differentiated.empty() || wanted.empty()) {
      return result;
    }
    const NestedPass nested;
    auto gradients =
        torch::autograd::grad(differentiated, wanted, given, create_graph, create_graph, /*allow_unused=*/true);
    for (size_t i = 0; i < places.size(); ++i) {
      result[places[i]] = std::move(gradients[i]);
    }
    return result;
  }

  static variable_list jvp(const variable_list&, const Saved&, const Options&) {
    TORCH_INTERNAL_ASSERT(false, name, ": operations with tangents run tensor code");
  }

  /// The kernel for the Autograd key.
  static Result kernel(Arguments... arguments) {
    const CallerState caller;
    const auto inputs = tensors(arguments...);
    if (!requires_grad(inputs) && !has_tangent(inputs)) {
      return below_autograd([&] { return op.call(std::forward<Arguments>(arguments)...); });
    }
    if (has_tangent(inputs)) {
      return tensor_code(std::forward<Arguments>(arguments)...);
    }
    return from_list<Result>(differentiable<Recomputed>(inputs, {{owned(arguments)...}}));
  }

 private:
  /// Not `x` itself: one input may be computed from another one, and its derivative would count twice.
  static Tensor differentiable_alias(const Tensor& x) {
    auto alias = at::alias(x);
    if (!alias.requires_grad()) {
      // `x` is from a level of torch.func's transforms that has ended, so that operations see a constant.
      alias = alias.detach();
      alias.set_requires_grad(true);
    }
    return alias;
  }

  template <typename F>
  static void for_each_index(const F& f) {
    [&]<size_t... i>(std::index_sequence<i...>) {
      (f(std::integral_constant<size_t, i>()), ...);
    }(std::make_index_sequence<count>());
  }

  template <typename T>
  static auto owned(const T& argument) {
    return typename Owned<T>::type(argument);
  }
  template <typename T>
  static std::vector<T> owned(const c10::ArrayRef<T>& argument) {
    return argument.vec();
  }
  static std::monostate owned(const Tensor&) {
    return {};
  }
  static std::monostate owned(const OptionalTensor&) {
    return {};
  }

  /// The tensors among the arguments; undefined ones for missing ones.
  static variable_list tensors(const std::decay_t<Arguments>&... arguments) {
    variable_list result;
    const auto add = [&](const auto& argument) {
      using T = std::decay_t<decltype(argument)>;
      if constexpr (std::is_same_v<T, Tensor>) {
        result.push_back(argument);
      } else if constexpr (std::is_same_v<T, OptionalTensor>) {
        result.push_back(tensor_or_undefined(argument));
      }
    };
    (add(arguments), ...);
    return result;
  }

  /// The i-th argument, from what `tensors` and `owned` returned.
  template <size_t i>
  static decltype(auto) argument(const variable_list& inputs, const Options& options) {
    using T = std::decay_t<std::tuple_element_t<i, std::tuple<Arguments...>>>;
    if constexpr (is_tensor[i]) {
      constexpr auto place = std::count(is_tensor.begin(), is_tensor.begin() + i, true);
      if constexpr (std::is_same_v<T, Tensor>) {
        return static_cast<const Tensor&>(inputs[place]);
      } else {
        return optional(inputs[place]);
      }
    } else {
      return static_cast<const typename Owned<T>::type&>(std::get<i>(options.arguments));
    }
  }

  template <typename F>
  static variable_list call(const F& f, const variable_list& inputs, const Options& options) {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return f(argument<i>(inputs, options)...);
    }(std::make_index_sequence<count>());
  }

  /// Without the judgement of the loss, which the kernel has given already.
  static variable_list tensor_code_outputs(const variable_list& inputs, const Options& options) {
    const ChecksGuard judged(Checks::ignore);
    return call([](auto&&... arguments) { return to_list(tensor_code(arguments...)); }, inputs, options);
  }
};

/// The kernel for the Autograd key of such an operator.
template <const auto& op, auto tensor_code>
constexpr auto recomputed_kernel() {
  return &Recomputed<op, tensor_code>::kernel;
}

} // namespace spectralgrad::autograd
