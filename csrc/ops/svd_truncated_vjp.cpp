#include "ops/svd_truncated_vjp.h"

#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "math/svd_truncated.h"
#include "ops/svd_gradient.h"

#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

constexpr autograd::OperatorHandle<"spectralgrad::svd_truncated_vjp", svd_gradient_meta> svd_truncated_vjp_op;
constexpr auto* svd_truncated_vjp_kernel = svd_gradient_kernel<math::svd_truncated_vjp>;

} // namespace

at::Tensor svd_truncated_vjp(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule) {
  return call_svd_gradient(
      svd_truncated_vjp_op,
      "svd_truncated",
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
      "svd_truncated_vjp(Tensor? U_cotangent, Tensor? singular_values_cotangent, Tensor? Vh_cotangent, Tensor U, "
      "Tensor singular_values, Tensor Vh, str rule, float[] parameters, str caller=\"svd_truncated\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svd_truncated_vjp", svd_truncated_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svd_truncated_vjp", svd_gradient_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svd_truncated_vjp", autograd::recomputed_kernel<svd_truncated_vjp_op, svd_truncated_vjp_kernel>());
}

} // namespace spectralgrad::ops
