#pragma once

#include "core/caller_state.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>

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
    return handle.call(arguments...);
  }

  /// The kernel for the Autograd key of an operator whose results are constants: it creates no node and no tangent. The
  /// dispatcher calls it at every level of nested transforms.
  constexpr auto constant_kernel() const {
    return &call_below_autograd;
  }

 private:
  static Result call_below_autograd(Arguments... arguments) {
    const CallerState caller;
    const at::AutoDispatchBelowADInplaceOrView guard;
    return OperatorHandle().call(arguments...);
  }
};

} // namespace spectralgrad::autograd
