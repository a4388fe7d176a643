#include "ops/eig_vjp.h"

#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "kernels/eig_vjp/eig_vjp.h"
#include "math/eig.h"
#include "math/pairs/gauge_report.h"
#include "ops/arguments.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor eig_vjp_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::eig_vjp(
             tensor_or_undefined(eigenvalues_cotangent),
             tensor_or_undefined(eigenvectors_cotangent),
             eigenvalues,
             eigenvectors,
             A,
             Rule::parse(rule, parameters))
      .contiguous();
}

Tensor eig_vjp_on_cpu(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  if (!kernels::supports_eig_vjp(eigenvectors)) {
    return eig_vjp_kernel(
        eigenvalues_cotangent,
        eigenvectors_cotangent,
        eigenvalues,
        eigenvectors,
        A,
        rule,
        parameters,
        caller);
  }
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  const auto parsed = Rule::parse(rule, parameters);
  const auto gL = tensor_or_undefined(eigenvalues_cotangent);
  const auto gV = tensor_or_undefined(eigenvectors_cotangent);
  auto result = kernels::eig_vjp(gL, gV, eigenvalues, eigenvectors, A, parsed);
  if (!result.left_out.empty()) {
    const auto n = eigenvalues.size(-1);
    const auto indices = at::tensor(result.left_out);
    const auto chosen = [&](const Tensor& x, at::IntArrayRef trailing) {
      if (!x.defined()) {
        return Tensor();
      }
      auto shape = trailing.vec();
      shape.insert(shape.begin(), -1);
      return x.reshape(shape).index_select(0, indices);
    };
    const math::PartOfBatch part(result.left_out);
    const auto gradient = math::eig_vjp(
        chosen(gL, {n}),
        chosen(gV, {n, n}),
        chosen(eigenvalues, {n}),
        chosen(eigenvectors, {n, n}),
        chosen(A, {n, n}),
        parsed);
    result.gradient.view({-1, n, n}).index_copy_(0, indices, gradient);
  }
  return std::move(result.gradient);
}

Tensor eig_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor&,
    const Tensor& A,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return at::empty_like(A, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eig_vjp", eig_vjp_meta> eig_vjp_op;

} // namespace

Tensor eig_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  return eig_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      A,
      rule.name(),
      rule.parameters(),
      caller_name("eig"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eig_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, Tensor A, str rule, float[] parameters, str caller=\"eig\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eig_vjp", eig_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eig_vjp", eig_vjp_on_cpu);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eig_vjp", eig_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eig_vjp", autograd::recomputed_kernel<eig_vjp_op, eig_vjp_kernel>());
}

} // namespace spectralgrad::ops
