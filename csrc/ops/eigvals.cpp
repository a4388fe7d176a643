#include <spectralgrad/eigvals.h>

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/general_decomposition.h"

#include <spectralgrad/eig.h>

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::RuleName;
using ops::RuleParameters;

Tensor eigvals_kernel(const Tensor& A, RuleName rule, RuleParameters parameters) {
  ops::check_square_matrix("eigvals", A);
  ops::resolve_rule(rule, parameters);
  return std::get<0>(ops::general_decomposition("eigvals", A, /*compute_eigenvectors=*/false));
}

Tensor eigvals_meta(const Tensor& A, RuleName rule, RuleParameters parameters) {
  ops::check_square_matrix("eigvals", A);
  ops::resolve_rule(rule, parameters);
  return std::get<0>(ops::general_decomposition_meta(A));
}

Tensor& eigvals_out_kernel(const Tensor& A, RuleName rule, RuleParameters parameters, Tensor& eigenvalues) {
  ops::check_out_not_differentiated("eigvals", {A, eigenvalues});
  ops::write_out(eigvals_kernel(A, rule, parameters), eigenvalues);
  return eigenvalues;
}

constexpr autograd::OperatorHandle<"spectralgrad::eigvals", eigvals_kernel> eigvals_op;
constexpr autograd::OperatorHandle<"spectralgrad::eigvals", eigvals_out_kernel, "out"> eigvals_out_op;

// The derivative needs the eigenvectors. So if A is differentiated, this is the first result of `eig`.
Tensor eigvals_autograd(const Tensor& A, RuleName rule, RuleParameters parameters) {
  const autograd::CallerState caller;
  const auto resolved = ops::resolve_rule(rule, parameters);
  if (autograd::requires_grad({A}) || autograd::has_tangent(A)) {
    const CallerNameGuard guard("eigvals");
    return std::get<0>(spectralgrad::eig(A, resolved));
  }
  return autograd::below_autograd([&] { return spectralgrad::eigvals(A, resolved); });
}

} // namespace

Tensor eigvals(const Tensor& A, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigvals_op.call(A, encoded.name, encoded.parameters);
}

Tensor& eigvals_out(Tensor& eigenvalues, const Tensor& A, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigvals_out_op.call(A, encoded.name, encoded.parameters, eigenvalues);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("eigvals(Tensor A, str? rule=None, float[] parameters=[]) -> Tensor eigenvalues");
  library.def(
      "eigvals.out(Tensor A, str? rule=None, float[] parameters=[], *, Tensor(a!) eigenvalues) "
      "-> Tensor(a!) eigenvalues");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigvals", eigvals_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eigvals.out", eigvals_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigvals", eigvals_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigvals", eigvals_autograd);
}

} // namespace spectralgrad
