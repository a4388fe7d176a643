#include "ops/quantity.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor quantity_kernel(const Tensor& x, std::string_view function, std::string_view name, bool positive) {
  const auto check = [&](const Tensor& is_valid, const char* expected) {
    TORCH_CHECK_VALUE(
        is_valid.all().item<bool>(),
        "spectralgrad.",
        function,
        ": Expected ",
        name,
        " to be ",
        expected,
        ", but got ",
        x.masked_select(is_valid.logical_not())[0].item<double>());
  };
  if (positive) {
    check(x > 0, "positive");
  }
  check(x.isfinite(), "finite");
  return x.clone();
}

Tensor quantity_meta(const Tensor& x, std::string_view, std::string_view, bool) {
  return at::empty_like(x);
}

constexpr autograd::OperatorHandle<"spectralgrad::quantity", quantity_meta> quantity_op;

/// Returns its input, whose derivative is the identity.
struct Quantity {
  static constexpr const char* name = "Quantity";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = false;
  struct Options {
    std::string function;
    std::string argument;
    bool positive;
    void save(autograd::Dictionary&) const {}
    static Options load(const autograd::Dictionary&) {
      return {};
    }
  };

  static autograd::variable_list forward(const autograd::variable_list& inputs, const Options& options) {
    return {quantity_op.call(inputs[0], options.function, options.argument, options.positive)};
  }

  static autograd::variable_list vjp(
      const autograd::variable_list& cotangents,
      const autograd::Saved&,
      const Options&) {
    return {cotangents[0]};
  }

  static autograd::variable_list jvp(const autograd::variable_list& tangents, const autograd::Saved&, const Options&) {
    return {tangents[0]};
  }
};

Tensor quantity_autograd(const Tensor& x, std::string_view function, std::string_view name, bool positive) {
  return autograd::differentiable<Quantity>({x}, {std::string(function), std::string(name), positive})[0];
}

} // namespace

Tensor quantity(const Tensor& x, std::string_view function, std::string_view name, bool positive) {
  return quantity_op.call(x, function, name, positive);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("quantity(Tensor x, str function, str name, bool positive) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("quantity", quantity_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("quantity", quantity_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("quantity", quantity_autograd);
}

} // namespace spectralgrad::ops
