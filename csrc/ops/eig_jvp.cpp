#include "ops/eig_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "math/eig.h"
#include "ops/arguments.h"
#include "ops/in_layout_of.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> eig_jvp_kernel(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  const auto [dL, dV] = math::eig_jvp(tangent, eigenvalues, eigenvectors, Rule::parse(rule, parameters));
  return {in_layout_of(eigenvalues, dL), in_layout_of(eigenvectors, dV)};
}

std::tuple<Tensor, Tensor> eig_jvp_meta(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return {at::empty_like(eigenvalues), at::empty_like(eigenvectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::eig_jvp", eig_jvp_meta> eig_jvp_op;

// Keeps the layout that tensor code gives, because a copy to another one would be differentiated, too.
std::tuple<Tensor, Tensor> eig_jvp_tensor_code(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  auto [dL, dV] = math::eig_jvp(tangent, eigenvalues, eigenvectors, Rule::parse(rule, parameters));
  return {std::move(dL), std::move(dV)};
}

} // namespace

std::tuple<Tensor, Tensor> eig_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  return eig_jvp_op.call(tangent, eigenvalues, eigenvectors, rule.name(), rule.parameters(), caller_name("eig"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eig_jvp(Tensor tangent, Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters, "
      "str caller=\"eig\") -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eig_jvp", eig_jvp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eig_jvp", eig_jvp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eig_jvp", eig_jvp_op.tensor_code_kernel<eig_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
