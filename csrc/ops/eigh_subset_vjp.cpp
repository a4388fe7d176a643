#include "ops/eigh_subset_vjp.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "math/eigh_subset.h"
#include "ops/arguments.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor eigh_subset_vjp_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    c10::SymInt first,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::eigh_subset_vjp(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      Rule::parse(rule, parameters));
}

Tensor eigh_subset_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    c10::SymInt,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_subset_vjp", eigh_subset_vjp_meta> eigh_subset_vjp_op;

std::tuple<Tensor, Tensor> generalized_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    c10::SymInt first,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::generalized_subset_vjp(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      Rule::parse(rule, parameters));
}

std::tuple<Tensor, Tensor> generalized_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    c10::SymInt,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return {
      at::empty_like(eigenvectors, at::MemoryFormat::Contiguous),
      at::empty_like(eigenvectors, at::MemoryFormat::Contiguous)};
}

constexpr autograd::OperatorHandle<"spectralgrad::generalized_subset_vjp", generalized_meta> generalized_op;

} // namespace

Tensor eigh_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  return eigh_subset_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      rule.name(),
      rule.parameters(),
      caller_name("eigh_subset"));
}

std::pair<Tensor, Tensor> generalized_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  auto [gA, gB] = generalized_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      rule.name(),
      rule.parameters(),
      caller_name("eigh_subset"));
  return {std::move(gA), std::move(gB)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_subset_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, SymInt first, str rule, float[] parameters, str caller=\"eigh_subset\") -> Tensor");
  library.def(
      "generalized_subset_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, SymInt first, str rule, float[] parameters, str caller=\"eigh_subset\") "
      "-> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_subset_vjp", eigh_subset_vjp_kernel);
  library.impl("generalized_subset_vjp", generalized_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_subset_vjp", eigh_subset_vjp_meta);
  library.impl("generalized_subset_vjp", generalized_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl(
      "eigh_subset_vjp",
      eigh_subset_vjp_op.tensor_code_kernel<eigh_subset_vjp_kernel, autograd::is_differentiated>());
  library.impl(
      "generalized_subset_vjp",
      generalized_op.tensor_code_kernel<generalized_kernel, autograd::is_differentiated>());
}

} // namespace spectralgrad::ops
