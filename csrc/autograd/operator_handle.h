#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <type_traits>
#include <utility>

namespace spectralgrad::autograd {

/// A registered operator, called through the dispatcher. `kernel` is any of its kernels that takes the arguments of its
/// schema: the C++ signature is deduced from it, so it is written once.
///
///     Tensor twice_kernel(const Tensor& x);
///     constexpr OperatorHandle<twice_kernel> twice_op("spectralgrad::twice");
///     ... twice_op.call(x) ...
template <auto kernel>
class OperatorHandle {
 public:
  constexpr explicit OperatorHandle(const char* name, const char* overload = "") : name_(name), overload_(overload) {}

  template <typename... Arguments>
  auto call(Arguments&&... arguments) const -> decltype(kernel(std::forward<Arguments>(arguments)...)) {
    return find().call(std::forward<Arguments>(arguments)...);
  }

 private:
  using Signature = std::remove_pointer_t<decltype(kernel)>;

  /// Each operator has a kernel of its own, so each has a handle of its own here. It is looked up at the first call,
  /// because operators are registered while the library is loaded, in no particular order.
  const c10::TypedOperatorHandle<Signature>& find() const {
    static const auto handle =
        c10::Dispatcher::singleton().findSchemaOrThrow(name_, overload_).template typed<Signature>();
    return handle;
  }

  const char* name_;
  const char* overload_;
};

} // namespace spectralgrad::autograd
