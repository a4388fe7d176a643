#include "autograd/differentiable_once.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"

#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using autograd::variable_list;

Tensor once_kernel(const Tensor& x, const Tensor&, std::string_view) {
  return x.clone();
}

Tensor once_meta(const Tensor& x, const Tensor&, std::string_view) {
  return at::empty_like(x);
}

constexpr autograd::OperatorHandle<"spectralgrad::once", once_meta> once_op;

/// Returns its first input. The derivative with respect to the second one raises.
struct Once {
  static constexpr const char* name = "Once";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = false;
  struct Options {
    std::string message;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["message"] = message;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("message").toStringRef()};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {once_op.call(inputs[0], inputs[1], options.message)};
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
    TORCH_CHECK(!saved.needed[1], options.message);
    return {cotangents[0], Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved&, const Options& options) {
    TORCH_CHECK(!tangents[1].defined(), options.message);
    return {tangents[0]};
  }
};

Tensor once_autograd(const Tensor& x, const Tensor& A, std::string_view message) {
  return autograd::differentiable<Once>({x, A}, {std::string(message)})[0];
}

} // namespace

namespace autograd {

Tensor differentiable_once(const Tensor& x, const Tensor& A, const std::string& message) {
  return is_differentiated(x) || is_differentiated(A) ? once_op.call(x, A, message) : x;
}

} // namespace autograd

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("once(Tensor x, Tensor A, str message) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("once", once_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("once", once_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("once", once_autograd);
}

} // namespace spectralgrad
