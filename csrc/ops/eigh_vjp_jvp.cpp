#include "ops/eigh_vjp_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/optional_tensor.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_vjp/by_products/eigh_vjp_inner.h"
#include "kernels/eigh_vjp_jvp/eigh_vjp_jvp.h"
#include "ops/arguments.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <array>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor eigh_vjp_jvp_by_tensor_code(
    const math::EighVjpArguments& tangents,
    const math::EighVjpArguments& x,
    const Rule& rule) {
  return math::eigh_vjp_jvp(tangents, x, math::eigh_vjp_inner(x, rule));
}

std::array<Tensor, 4> in_order(const math::EighVjpArguments& all) {
  return {all.eigenvalues_cotangent, all.eigenvectors_cotangent, all.eigenvalues, all.eigenvectors};
}

Tensor eigh_vjp_jvp_on_cpu(const math::EighVjpArguments& tangents, const math::EighVjpArguments& x, const Rule& rule) {
  const auto& V = x.eigenvectors;
  if (V.numel() == 0) {
    return eigh_vjp_jvp_by_tensor_code(tangents, x, rule);
  }
  if (kernels::pass_in_lanes(kernels::batch_traits(V))) {
    return kernels::eigh_vjp_jvp(in_order(tangents), in_order(x), rule);
  }
  if (!x.eigenvectors_cotangent.defined()) {
    return eigh_vjp_jvp_by_tensor_code(tangents, x, rule);
  }
  const auto [W, pairs] = kernels::eigh_vjp_inner(in_order(x), rule);
  return math::eigh_vjp_jvp(tangents, x, {W, pairs, pairs.quotient});
}

template <auto function>
Tensor eigh_vjp_jvp_with(
    const OptionalTensor& eigenvalues_cotangent_tangent,
    const OptionalTensor& eigenvectors_cotangent_tangent,
    const OptionalTensor& eigenvalues_tangent,
    const OptionalTensor& eigenvectors_tangent,
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters) {
  const autograd::TensorCode tensor_code;
  return function(
      {tensor_or_undefined(eigenvalues_cotangent_tangent),
       tensor_or_undefined(eigenvectors_cotangent_tangent),
       tensor_or_undefined(eigenvalues_tangent),
       tensor_or_undefined(eigenvectors_tangent)},
      {tensor_or_undefined(eigenvalues_cotangent),
       tensor_or_undefined(eigenvectors_cotangent),
       eigenvalues,
       eigenvectors},
      Rule::parse(rule, parameters));
}

Tensor eigh_vjp_jvp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_vjp_jvp", eigh_vjp_jvp_meta> eigh_vjp_jvp_op;

} // namespace

Tensor eigh_vjp_jvp(const math::EighVjpArguments& tangents, const math::EighVjpArguments& x, const Rule& rule) {
  if (!tangents.eigenvalues_cotangent.defined() && !tangents.eigenvectors_cotangent.defined() &&
      !tangents.eigenvalues.defined() && !tangents.eigenvectors.defined()) {
    return {};
  }
  return eigh_vjp_jvp_op.call(
      optional(tangents.eigenvalues_cotangent),
      optional(tangents.eigenvectors_cotangent),
      optional(tangents.eigenvalues),
      optional(tangents.eigenvectors),
      optional(x.eigenvalues_cotangent),
      optional(x.eigenvectors_cotangent),
      x.eigenvalues,
      x.eigenvectors,
      rule.name(),
      rule.parameters());
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_vjp_jvp(Tensor? eigenvalues_cotangent_tangent, Tensor? eigenvectors_cotangent_tangent, "
      "Tensor? eigenvalues_tangent, Tensor? eigenvectors_tangent, Tensor? eigenvalues_cotangent, "
      "Tensor? eigenvectors_cotangent, Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters) "
      "-> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_vjp_jvp", eigh_vjp_jvp_with<eigh_vjp_jvp_by_tensor_code>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_vjp_jvp", eigh_vjp_jvp_with<eigh_vjp_jvp_on_cpu>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_vjp_jvp", eigh_vjp_jvp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_vjp_jvp", eigh_vjp_jvp_op.tensor_code_kernel<eigh_vjp_jvp_with<eigh_vjp_jvp_by_tensor_code>>());
}

} // namespace spectralgrad::ops
