#include "ops/eigh_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_jvp/eigh_jvp.h"
#include "kernels/eigh_jvp/eigh_jvp_by_products.h"
#include "kernels/simd/batch_layout.h"
#include "math/eigh.h"
#include "ops/arguments.h"
#include "ops/in_layout_of.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

/// Runs `function`, which broadcasts. If one decomposition is expanded over the batch, it is not copied.
template <auto function>
std::pair<Tensor, Tensor> without_repeats(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (tangent.numel() == 0) {
    return function(tangent, eigenvalues, eigenvectors, rule);
  }
  return function(tangent, kernels::without_repeats(eigenvalues, 1), kernels::without_repeats(eigenvectors, 2), rule);
}

std::pair<Tensor, Tensor> on_cpu(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (eigenvectors.numel() == 0) {
    return math::eigh_jvp(tangent, eigenvalues, eigenvectors, rule);
  }
  const bool in_lanes = kernels::pass_in_lanes(kernels::batch_traits(eigenvectors));
  return (
      in_lanes ? kernels::eigh_jvp
               : without_repeats<kernels::eigh_jvp_by_products>)(tangent, eigenvalues, eigenvectors, rule);
}

template <auto function>
std::tuple<Tensor, Tensor> eigh_jvp_with(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  const auto [dL, dV] = function(tangent, eigenvalues, eigenvectors, Rule::parse(rule, parameters));
  return {in_layout_of(eigenvalues, dL), in_layout_of(eigenvectors, dV)};
}

std::tuple<Tensor, Tensor> eigh_jvp_meta(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return {at::empty_like(eigenvalues), at::empty_like(eigenvectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_jvp", eigh_jvp_meta> eigh_jvp_op;

// Keeps the layout that tensor code gives, because a copy to another one would be differentiated, too.
std::tuple<Tensor, Tensor> eigh_jvp_tensor_code(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  auto [dL, dV] = math::eigh_jvp(tangent, eigenvalues, eigenvectors, Rule::parse(rule, parameters));
  return {std::move(dL), std::move(dV)};
}

} // namespace

std::pair<Tensor, Tensor> eigh_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  auto [dL, dV] = eigh_jvp_op.call(tangent, eigenvalues, eigenvectors, rule.name(), rule.parameters(), caller_name());
  return {std::move(dL), std::move(dV)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_jvp(Tensor tangent, Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters, "
      "str caller=\"eigh\") "
      "-> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_jvp", eigh_jvp_with<without_repeats<math::eigh_jvp>>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_jvp", eigh_jvp_with<on_cpu>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_jvp", eigh_jvp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_jvp", eigh_jvp_op.tensor_code_kernel<eigh_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
