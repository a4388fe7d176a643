#include <spectralgrad/svdvals.h>

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/singular_value_decomposition.h"
#include "ops/split.h"

#include <spectralgrad/svd.h>

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::RuleName;
using ops::RuleParameters;
using ops::SingularVectors;
using Name = std::optional<std::string_view>;

Tensor svdvals_kernel(const Tensor& A, Name driver, RuleName rule, RuleParameters parameters) {
  ops::check_matrix("svdvals", A);
  const auto resolved = ops::resolve_rule(rule, parameters);
  const auto result = ops::singular_value_decomposition("svdvals", A, SingularVectors::none, driver);
  return ops::split_singular_values(std::get<1>(result), A.size(-1) == A.size(-2), resolved);
}

Tensor svdvals_meta(const Tensor& A, Name, RuleName rule, RuleParameters parameters) {
  ops::check_matrix("svdvals", A);
  ops::resolve_rule(rule, parameters);
  return std::get<1>(ops::singular_value_decomposition_meta(A, SingularVectors::none));
}

Tensor& svdvals_out_kernel(const Tensor& A, Name driver, RuleName rule, RuleParameters parameters, Tensor& S) {
  ops::check_out_not_differentiated("svdvals", {A, S});
  ops::write_out(svdvals_kernel(A, driver, rule, parameters), S);
  return S;
}

constexpr autograd::OperatorHandle<"spectralgrad::svdvals", svdvals_kernel> svdvals_op;
constexpr autograd::OperatorHandle<"spectralgrad::svdvals", svdvals_out_kernel, "out"> svdvals_out_op;

// The derivative needs the singular vectors. So if A is differentiated, this is a result of `svd`.
Tensor svdvals_autograd(const Tensor& A, Name driver, RuleName rule, RuleParameters parameters) {
  const autograd::CallerState caller;
  const auto resolved = ops::resolve_rule(rule, parameters);
  if (autograd::requires_grad({A}) || autograd::has_tangent(A)) {
    const CallerNameGuard guard("svdvals");
    return std::get<1>(spectralgrad::svd(A, /*full_matrices=*/false, driver, resolved));
  }
  return autograd::below_autograd([&] { return spectralgrad::svdvals(A, driver, resolved); });
}

} // namespace

Tensor svdvals(const Tensor& A, Name driver, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return svdvals_op.call(A, driver, encoded.name, encoded.parameters);
}

Tensor& svdvals_out(Tensor& S, const Tensor& A, Name driver, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return svdvals_out_op.call(A, driver, encoded.name, encoded.parameters, S);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("svdvals(Tensor A, str? driver=None, str? rule=None, float[] parameters=[]) -> Tensor S");
  library.def(
      "svdvals.out(Tensor A, str? driver=None, str? rule=None, float[] parameters=[], *, Tensor(a!) S) "
      "-> Tensor(a!) S");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svdvals", svdvals_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("svdvals.out", svdvals_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svdvals", svdvals_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svdvals", svdvals_autograd);
}

} // namespace spectralgrad
