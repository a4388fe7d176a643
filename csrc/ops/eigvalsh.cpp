#include <spectralgrad/eigvalsh.h>

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/eigh.h"
#include "ops/hermitian_decomposition.h"
#include "ops/split.h"

#include <torch/library.h>

#include <optional>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor eigvalsh_kernel(const Tensor& A, std::string_view UPLO, RuleName rule, RuleParameters parameters) {
  check_hermitian_arguments("eigvalsh", A, UPLO);
  const auto resolved = resolve_rule(rule, parameters);
  const auto result = hermitian_decomposition("eigvalsh", A, UPLO, /*compute_eigenvectors=*/false);
  return split_eigenvalues(std::get<0>(result), resolved);
}

Tensor eigvalsh_meta(const Tensor& A, std::string_view UPLO, RuleName rule, RuleParameters parameters) {
  check_hermitian_arguments("eigvalsh", A, UPLO);
  resolve_rule(rule, parameters);
  return std::get<0>(hermitian_decomposition_meta(A));
}

Tensor& eigvalsh_out_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues) {
  check_out_not_differentiated("eigvalsh", {A, eigenvalues});
  write_out(eigvalsh_kernel(A, UPLO, rule, parameters), eigenvalues);
  return eigenvalues;
}

constexpr autograd::OperatorHandle<"spectralgrad::eigvalsh", eigvalsh_kernel> eigvalsh_op;
constexpr autograd::OperatorHandle<"spectralgrad::eigvalsh", eigvalsh_out_kernel, "out"> eigvalsh_out_op;

// The derivative needs the eigenvectors. So if A is differentiated, this is the first result of `eigh`.
Tensor eigvalsh_autograd(const Tensor& A, std::string_view UPLO, RuleName rule, RuleParameters parameters) {
  const autograd::CallerState caller;
  const auto resolved = resolve_rule(rule, parameters);
  if (autograd::requires_grad({A}) || autograd::has_tangent(A)) {
    check_hermitian_arguments("eigvalsh", A, UPLO);
    const CallerNameGuard guard("eigvalsh");
    return std::get<0>(differentiable_eigh(A, UPLO, resolved, std::nullopt, /*only_eigenvalues=*/true));
  }
  return autograd::below_autograd([&] { return eigvalsh(A, UPLO, resolved); });
}

} // namespace

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("eigvalsh(Tensor A, str UPLO=\"L\", str? rule=None, float[] parameters=[]) -> Tensor eigenvalues");
  library.def(
      "eigvalsh.out(Tensor A, str UPLO=\"L\", str? rule=None, float[] parameters=[], *, Tensor(a!) eigenvalues) "
      "-> Tensor(a!) eigenvalues");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigvalsh", eigvalsh_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eigvalsh.out", eigvalsh_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigvalsh", eigvalsh_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigvalsh", eigvalsh_autograd);
}

} // namespace spectralgrad::ops

namespace spectralgrad {

at::Tensor eigvalsh(const at::Tensor& A, std::string_view UPLO, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eigvalsh_op.call(A, UPLO, encoded.name, encoded.parameters);
}

at::Tensor& eigvalsh_out(
    at::Tensor& eigenvalues,
    const at::Tensor& A,
    std::string_view UPLO,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eigvalsh_out_op.call(A, UPLO, encoded.name, encoded.parameters, eigenvalues);
}

} // namespace spectralgrad
