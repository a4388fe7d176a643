#include "ops/eigh_vjp.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "kernels/eigh_vjp/eigh_vjp.h"
#include "math/eigh.h"
#include "ops/arguments.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

template <auto function>
Tensor eigh_vjp_with(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return function(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      Rule::parse(rule, parameters));
}

Tensor eigh_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_vjp", eigh_vjp_meta> eigh_vjp_op;

} // namespace

Tensor eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  return eigh_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      rule.name(),
      rule.parameters(),
      caller_name());
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, str rule, float[] parameters, str caller=\"eigh\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_vjp", eigh_vjp_with<math::eigh_vjp>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_vjp", eigh_vjp_with<kernels::eigh_vjp>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_vjp", eigh_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl(
      "eigh_vjp",
      eigh_vjp_op.tensor_code_kernel<eigh_vjp_with<math::eigh_vjp>, autograd::is_differentiated>());
}

} // namespace spectralgrad::ops
