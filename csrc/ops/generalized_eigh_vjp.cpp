#include "ops/generalized_eigh_vjp.h"

#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/generalized_eigh_vjp/generalized_eigh_vjp.h"
#include "math/generalized_eigh.h"
#include "math/inverse.h"
#include "ops/arguments.h"
#include "ops/empty_gradient.h"
#include "ops/zero_columns.h"

#include <torch/library.h>

#include <tuple>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

template <auto function>
std::tuple<Tensor, Tensor> generalized_eigh_vjp_with(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    c10::SymInt first,
    bool needs_A,
    bool needs_B,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  auto [A, B] = function(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      B_diagonal,
      itype,
      first,
      needs_A,
      needs_B,
      Rule::parse(rule, parameters));
  return {
      A.defined() ? std::move(A) : empty_gradient(false, eigenvectors),
      B.defined() ? std::move(B) : empty_gradient(false, eigenvectors)};
}

/// The kernel, where there is one. It takes the cotangents of all eigenvectors. So if the loss sees some of them only,
/// it gets zeros for the others; in lanes, that takes less time than tensor code.
std::pair<Tensor, Tensor> generalized_eigh_vjp_on_cpu(
    const Tensor& gL,
    const Tensor& gV,
    const Tensor& L,
    const Tensor& V,
    const Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  const auto n = V.size(-1);
  const bool sees_all = (gV.defined() ? gV : gL).size(-1) == n;
  if (!kernels::supports_generalized_vjp(V) ||
      !(sees_all || kernels::generalized_vjp_in_lanes(kernels::batch_traits(V)))) {
    return math::generalized_eigh_vjp(gL, gV, L, V, B_diagonal, itype, first, needs_A, needs_B, rule);
  }
  const auto dual = itype == 1 ? Tensor() : math::inverse(V).mH();
  const auto start = first.expect_int();
  auto gradients = kernels::generalized_eigh_vjp(
      sees_all || !gL.defined() ? gL : with_zero_entries(gL, n, start),
      sees_all || !gV.defined() ? gV : with_zero_columns(gV, n, start),
      L,
      V,
      B_diagonal,
      dual,
      itype,
      needs_A,
      needs_B,
      rule);
  if (gradients.suspicious) {
    math::judge_generalized_eigh(gL, gV, L, V, B_diagonal, itype, first);
  }
  return {std::move(gradients.A), std::move(gradients.B)};
}

std::tuple<Tensor, Tensor> generalized_eigh_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    const Tensor&,
    int64_t,
    c10::SymInt,
    bool needs_A,
    bool needs_B,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return {empty_gradient(needs_A, eigenvectors), empty_gradient(needs_B, eigenvectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::generalized_eigh_vjp", generalized_eigh_vjp_meta>
    generalized_eigh_vjp_op;

} // namespace

std::pair<Tensor, Tensor> generalized_eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  auto [A, B] = generalized_eigh_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      B_diagonal,
      itype,
      first,
      needs_A,
      needs_B,
      rule.name(),
      rule.parameters(),
      caller_name("generalized_eigh"));
  return {needs_A ? std::move(A) : Tensor(), needs_B ? std::move(B) : Tensor()};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "generalized_eigh_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, Tensor B_diagonal, int itype, SymInt first, bool needs_A, bool needs_B, str rule, "
      "float[] parameters, str caller=\"generalized_eigh\") -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("generalized_eigh_vjp", generalized_eigh_vjp_with<math::generalized_eigh_vjp>);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("generalized_eigh_vjp", generalized_eigh_vjp_with<generalized_eigh_vjp_on_cpu>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("generalized_eigh_vjp", generalized_eigh_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl(
      "generalized_eigh_vjp",
      autograd::recomputed_kernel<generalized_eigh_vjp_op, generalized_eigh_vjp_with<math::generalized_eigh_vjp>>());
}

} // namespace spectralgrad::ops
