#include "ops/svd_vjp.h"

#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "kernels/svd_vjp/svd_vjp.h"
#include "math/svd.h"
#include "ops/svd_gradient.h"

#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

constexpr autograd::OperatorHandle<"spectralgrad::svd_vjp", svd_gradient_meta> svd_vjp_op;
constexpr auto* svd_vjp_kernel = svd_gradient_kernel<math::svd_vjp>;

Tensor svd_vjp_on_cpu(
    const OptionalTensor& U_cotangent,
    const OptionalTensor& singular_values_cotangent,
    const OptionalTensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const auto by_tensor_code = [&] {
    return svd_vjp_kernel(
        U_cotangent,
        singular_values_cotangent,
        Vh_cotangent,
        U,
        singular_values,
        Vh,
        rule,
        parameters,
        caller);
  };
  if (!kernels::supports_svd_vjp(U, Vh)) {
    return by_tensor_code();
  }
  const autograd::TensorCode tensor_code;
  auto result = kernels::svd_vjp(
      tensor_or_undefined(U_cotangent),
      tensor_or_undefined(singular_values_cotangent),
      tensor_or_undefined(Vh_cotangent),
      U,
      singular_values,
      Vh,
      Rule::parse(rule, parameters));
  if (result.suspicious) {
    // Only for its judgement. The gradient is that of the kernel, or it would depend on the other matrices.
    by_tensor_code();
  }
  return std::move(result.gradient);
}

} // namespace

Tensor svd_vjp(
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    const Rule& rule) {
  return call_svd_gradient(
      svd_vjp_op,
      "svd",
      U_cotangent,
      singular_values_cotangent,
      Vh_cotangent,
      U,
      singular_values,
      Vh,
      rule);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "svd_vjp(Tensor? U_cotangent, Tensor? singular_values_cotangent, Tensor? Vh_cotangent, Tensor U, "
      "Tensor singular_values, Tensor Vh, str rule, float[] parameters, str caller=\"svd\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svd_vjp", svd_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("svd_vjp", svd_vjp_on_cpu);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svd_vjp", svd_gradient_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svd_vjp", autograd::recomputed_kernel<svd_vjp_op, svd_vjp_kernel>());
}

} // namespace spectralgrad::ops
