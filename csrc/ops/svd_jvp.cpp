#include "ops/svd_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "math/svd.h"
#include "ops/arguments.h"
#include "ops/jvp_kernels.h"

#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor, Tensor> svd_jvp_tensor_code(
    const Tensor& tangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::svd_jvp(tangent, U, singular_values, Vh, Rule::parse(rule, parameters));
}

using SvdJvpKernels = JvpKernels<1, svd_jvp_tensor_code>;

constexpr autograd::OperatorHandle<"spectralgrad::svd_jvp", svd_jvp_tensor_code> svd_jvp_op;

} // namespace

std::tuple<Tensor, Tensor, Tensor> svd_jvp(
    const Tensor& tangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    const Rule& rule) {
  return svd_jvp_op.call(tangent, U, singular_values, Vh, rule.name(), rule.parameters(), caller_name("svd"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "svd_jvp(Tensor tangent, Tensor U, Tensor singular_values, Tensor Vh, str rule, float[] parameters, "
      "str caller=\"svd\") -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svd_jvp", SvdJvpKernels::kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svd_jvp", SvdJvpKernels::meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svd_jvp", svd_jvp_op.tensor_code_kernel<svd_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
