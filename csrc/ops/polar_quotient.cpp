#include "ops/polar_quotient.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_state.h"
#include "math/polar.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;

Tensor polar_quotient_kernel(
    const Tensor&,
    const Tensor& K,
    const Tensor& values,
    const Tensor& vectors,
    bool both_sides) {
  const autograd::TensorCode tensor_code;
  return both_sides ? math::solve_sylvester(K, values, vectors) : math::divide_from_the_right(K, values, vectors);
}

Tensor polar_quotient_meta(const Tensor&, const Tensor& K, const Tensor&, const Tensor&, bool) {
  return at::empty_symint(K.sym_sizes(), K.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::polar_quotient", polar_quotient_meta> polar_quotient_op;

struct PolarQuotient {
  static constexpr const char* name = "PolarQuotient";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;

  struct Options {
    bool both_sides;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["both_sides"] = both_sides;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("both_sides").toBool()};
    }
  };

  /// The inputs are P, K, values and vectors.
  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {polar_quotient_op.call(inputs[0], inputs[1], inputs[2], inputs[3], options.both_sides)};
  }

  static Tensor solve(const Tensor& K, const autograd::Saved& saved, const Options& options) {
    return polar_quotient(saved.inputs[0], K, saved.inputs[2], saved.inputs[3], options.both_sides);
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
    if (!cotangents[0].defined()) {
      return variable_list(4);
    }
    const auto& X = saved.outputs[0];
    const auto K_cotangent = solve(cotangents[0], saved, options);
    Tensor P_cotangent;
    if (saved.needed[0]) {
      P_cotangent = -at::matmul(X.mH(), K_cotangent);
      if (options.both_sides) {
        P_cotangent = P_cotangent - at::matmul(K_cotangent, X.mH());
      }
    }
    return {P_cotangent, K_cotangent, {}, {}};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options) {
    auto K = tangents[1];
    const auto subtract = [&](const Tensor& term) {
      K = K.defined() ? K - term : -term;
    };
    const auto& X = saved.outputs[0];
    if (tangents[0].defined()) {
      subtract(at::matmul(X, tangents[0]));
      if (options.both_sides) {
        subtract(at::matmul(tangents[0], X));
      }
    }
    return {K.defined() ? solve(K, saved, options) : Tensor()};
  }
};

Tensor polar_quotient_autograd(
    const Tensor& P,
    const Tensor& K,
    const Tensor& values,
    const Tensor& vectors,
    bool both_sides) {
  const autograd::CallerState caller;
  return autograd::differentiable<PolarQuotient>({P, K, values, vectors}, {both_sides})[0];
}

} // namespace

Tensor polar_quotient(const Tensor& P, const Tensor& K, const Tensor& values, const Tensor& vectors, bool both_sides) {
  return polar_quotient_op.call(P, K, values, vectors, both_sides);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("polar_quotient(Tensor P, Tensor K, Tensor values, Tensor vectors, bool both_sides) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("polar_quotient", polar_quotient_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("polar_quotient", polar_quotient_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("polar_quotient", polar_quotient_autograd);
}

} // namespace spectralgrad::ops
