#include "ops/eigh_vjp_vjp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/optional_tensor.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_vjp_vjp/eigh_vjp_vjp.h"
#include "kernels/eigh_vjp_vjp/eigh_vjp_vjp_by_products.h"
#include "ops/arguments.h"
#include "ops/empty_gradient.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

math::EighVjpArguments eigh_vjp_vjp_by_tensor_code(
    const Tensor& cotangent,
    const math::EighVjpArguments& x,
    const Rule& rule) {
  return math::eigh_vjp_vjp(cotangent, x, math::eigh_vjp_inner(x, rule));
}

math::EighVjpArguments eigh_vjp_vjp_on_cpu(const Tensor& cotangent, const math::EighVjpArguments& x, const Rule& rule) {
  const auto& V = x.eigenvectors;
  if (V.numel() == 0) {
    return eigh_vjp_vjp_by_tensor_code(cotangent, x, rule);
  }
  const bool in_lanes = kernels::pass_in_lanes(kernels::batch_traits(V));
  if (!in_lanes && !x.eigenvectors_cotangent.defined()) {
    return eigh_vjp_vjp_by_tensor_code(cotangent, x, rule);
  }
  auto [of_gL, of_gV, of_L, of_V] = (in_lanes ? kernels::eigh_vjp_vjp : kernels::eigh_vjp_vjp_by_products)(
      cotangent,
      {x.eigenvalues_cotangent, x.eigenvectors_cotangent, x.eigenvalues, V},
      rule);
  return {std::move(of_gL), std::move(of_gV), std::move(of_L), std::move(of_V)};
}

template <auto function>
Gradients eigh_vjp_vjp_with(
    const Tensor& cotangent,
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters) {
  const autograd::TensorCode tensor_code;
  const auto gradients = function(
      cotangent,
      {tensor_or_undefined(eigenvalues_cotangent),
       tensor_or_undefined(eigenvectors_cotangent),
       eigenvalues,
       eigenvectors},
      Rule::parse(rule, parameters));
  const auto or_empty = [](const Tensor& x, const Tensor& like) {
    return x.defined() ? x.contiguous() : empty_gradient(false, like);
  };
  return {
      gradients.eigenvalues_cotangent.contiguous(),
      or_empty(gradients.eigenvectors_cotangent, eigenvectors),
      or_empty(gradients.eigenvalues, eigenvalues),
      gradients.eigenvectors.contiguous()};
}

Gradients eigh_vjp_vjp_meta(
    const Tensor&,
    const OptionalTensor&,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters) {
  const auto contiguous = [](const Tensor& x) {
    return at::empty_like(x, at::MemoryFormat::Contiguous);
  };
  return {
      contiguous(eigenvalues),
      eigenvectors_cotangent ? contiguous(eigenvectors) : empty_gradient(false, eigenvectors),
      eigenvectors_cotangent ? contiguous(eigenvalues) : empty_gradient(false, eigenvalues),
      contiguous(eigenvectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_vjp_vjp", eigh_vjp_vjp_meta> eigh_vjp_vjp_op;

} // namespace

math::EighVjpArguments eigh_vjp_vjp(const Tensor& cotangent, const math::EighVjpArguments& x, const Rule& rule) {
  auto [of_gL, of_gV, of_L, of_V] = eigh_vjp_vjp_op.call(
      cotangent,
      optional(x.eigenvalues_cotangent),
      optional(x.eigenvectors_cotangent),
      x.eigenvalues,
      x.eigenvectors,
      rule.name(),
      rule.parameters());
  if (!x.eigenvectors_cotangent.defined()) {
    return {of_gL, {}, {}, of_V};
  }
  return {of_gL, of_gV, of_L, of_V};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_vjp_vjp(Tensor cotangent, Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, "
      "Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters) -> (Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_vjp_vjp", eigh_vjp_vjp_with<eigh_vjp_vjp_by_tensor_code>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_vjp_vjp", eigh_vjp_vjp_with<eigh_vjp_vjp_on_cpu>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_vjp_vjp", eigh_vjp_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_vjp_vjp", eigh_vjp_vjp_op.tensor_code_kernel<eigh_vjp_vjp_with<eigh_vjp_vjp_by_tensor_code>>());
}

} // namespace spectralgrad::ops
