#include <spectralgrad/eigvalsh.h>

#include "autograd/operator_handle.h"
#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"
#include "ops/split.h"

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::RuleName;
using ops::RuleParameters;

Tensor eigvalsh_kernel(const Tensor& A, std::string_view UPLO, RuleName rule, RuleParameters parameters) {
  ops::check_hermitian_arguments("eigvalsh", A, UPLO);
  const auto resolved = ops::resolve_rule(rule, parameters);
  const auto result = ops::hermitian_decomposition("eigvalsh", A, UPLO, /*compute_eigenvectors=*/false);
  return ops::split_eigenvalues(std::get<0>(result), resolved);
}

Tensor eigvalsh_meta(const Tensor& A, std::string_view UPLO, RuleName rule, RuleParameters parameters) {
  ops::check_hermitian_arguments("eigvalsh", A, UPLO);
  ops::resolve_rule(rule, parameters);
  return std::get<0>(ops::hermitian_decomposition_meta(A));
}

Tensor& eigvalsh_out_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues) {
  ops::check_out_not_differentiated("eigvalsh", {A, eigenvalues});
  ops::write_out(eigvalsh_kernel(A, UPLO, rule, parameters), eigenvalues);
  return eigenvalues;
}

constexpr autograd::OperatorHandle<"spectralgrad::eigvalsh", eigvalsh_kernel> eigvalsh_op;
constexpr autograd::OperatorHandle<"spectralgrad::eigvalsh", eigvalsh_out_kernel, "out"> eigvalsh_out_op;

} // namespace

Tensor eigvalsh(const Tensor& A, std::string_view UPLO, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigvalsh_op.call(A, UPLO, encoded.name, encoded.parameters);
}

Tensor& eigvalsh_out(Tensor& eigenvalues, const Tensor& A, std::string_view UPLO, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigvalsh_out_op.call(A, UPLO, encoded.name, encoded.parameters, eigenvalues);
}

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

} // namespace spectralgrad
