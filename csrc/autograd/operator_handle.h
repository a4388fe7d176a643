#pragma once

#include "autograd/differentiable_op.h"
#include "core/caller_state.h"
#include "core/optional_tensor.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace spectralgrad::autograd {

/// A string literal as a template argument.
template <size_t size>
struct Literal {
  char text[size];

  // NOLINTNEXTLINE(misc-explicit-constructor): so that a literal can be written where a template wants this
  constexpr Literal(const char (&literal)[size]) {
    std::copy_n(literal, size, text);
  }
};

/// A registered operator, called through the dispatcher. Its C++ signature is deduced from `function`, any function
/// with the arguments and results of its schema, such as one of its kernels.
///
///     Tensor twice_kernel(const Tensor& x);
///     constexpr OperatorHandle<"spectralgrad::twice", twice_kernel> twice_op;
///     ... twice_op.call(x) ...
///
/// The operator is looked up at the first call, because the parts of the library register their operators in no
/// particular order while it is loaded.
template <Literal name, auto function, Literal overload = "", typename Function = decltype(function)>
class OperatorHandle;

template <Literal name, auto function, Literal overload, typename Result, typename... Arguments>
class OperatorHandle<name, function, overload, Result (*)(Arguments...)> {
 public:
  Result call(Arguments... arguments) const {
    static const auto handle =
        c10::Dispatcher::singleton().findSchemaOrThrow(name.text, overload.text).template typed<Result(Arguments...)>();
    return handle.call(std::forward<Arguments>(arguments)...);
  }

  static constexpr const char* operator_name() {
    return name.text;
  }

  /// The kernel for the Autograd key of an operator whose results are constants: it creates no node and no tangent. The
  /// dispatcher calls it at every level of nested transforms.
  constexpr auto constant_kernel() const {
    return &call_below_autograd;
  }

  /// The kernel for the Autograd key of an operator that is itself a derivative. If a tensor argument is differentiated
  /// at this level of torch.func's transforms, it runs `tensor_code`, a function of the operator's signature that can
  /// be differentiated. Otherwise it calls the operator below autograd, where a faster kernel may take over.
  template <auto tensor_code>
  constexpr auto tensor_code_kernel() const {
    return &call_tensor_code<tensor_code>;
  }

 private:
  static Result call_below_autograd(Arguments... arguments) {
    const CallerState caller;
    const at::AutoDispatchBelowADInplaceOrView guard;
    return OperatorHandle().call(std::forward<Arguments>(arguments)...);
  }

  template <auto tensor_code>
  static Result call_tensor_code(Arguments... arguments) {
    const auto differentiated = [](const auto& x) {
      using Argument = std::decay_t<decltype(x)>;
      if constexpr (std::is_same_v<Argument, at::Tensor>) {
        return is_differentiated_at_this_level(x);
      } else if constexpr (std::is_same_v<Argument, OptionalTensor>) {
        return x && is_differentiated_at_this_level(*x);
      } else {
        return false;
      }
    };
    if ((differentiated(arguments) || ...)) {
      const CallerState caller;
      return tensor_code(std::forward<Arguments>(arguments)...);
    }
    return call_below_autograd(std::forward<Arguments>(arguments)...);
  }
};

} // namespace spectralgrad::autograd
