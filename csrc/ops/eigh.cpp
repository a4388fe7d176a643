#include <spectralgrad/eigh.h>

#include "ops/eigh.h"

#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"
#include "ops/split.h"

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::MethodName;
using ops::RuleName;
using ops::RuleParameters;

std::tuple<Tensor, Tensor> eigh_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method) {
  const auto function = caller_name();
  ops::check_hermitian_arguments(function.c_str(), A, UPLO);
  const auto resolved = ops::resolve_rule(rule, parameters);
  auto [eigenvalues, eigenvectors] =
      ops::hermitian_decomposition(function.c_str(), A, UPLO, /*compute_eigenvectors=*/true, method);
  return {ops::split_eigenvalues(eigenvalues, resolved), std::move(eigenvectors)};
}

std::tuple<Tensor, Tensor> eigh_meta(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName) {
  ops::check_hermitian_arguments(caller_name().c_str(), A, UPLO);
  ops::resolve_rule(rule, parameters);
  return ops::hermitian_decomposition_meta(A);
}

std::tuple<Tensor&, Tensor&> eigh_out_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues,
    Tensor& eigenvectors) {
  ops::check_out_not_differentiated("eigh", {A, eigenvalues, eigenvectors});
  const auto result = eigh_kernel(A, UPLO, rule, parameters, std::nullopt);
  ops::write_out(std::get<0>(result), eigenvalues);
  ops::write_out(std::get<1>(result), eigenvectors);
  return {eigenvalues, eigenvectors};
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh", eigh_kernel> eigh_op;
constexpr autograd::OperatorHandle<"spectralgrad::eigh", eigh_out_kernel, "out"> eigh_out_op;

} // namespace

std::tuple<Tensor, Tensor> ops::call_eigh(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method) {
  return eigh_op.call(A, UPLO, rule, parameters, method);
}

std::tuple<Tensor, Tensor> eigh(const Tensor& A, std::string_view UPLO, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::call_eigh(A, UPLO, encoded.name, encoded.parameters, std::nullopt);
}

std::tuple<Tensor&, Tensor&> eigh_out(
    Tensor& eigenvalues,
    Tensor& eigenvectors,
    const Tensor& A,
    std::string_view UPLO,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigh_out_op.call(A, UPLO, encoded.name, encoded.parameters, eigenvalues, eigenvectors);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh(Tensor A, str UPLO=\"L\", str? rule=None, float[] parameters=[], str? method=None) "
      "-> (Tensor eigenvalues, Tensor eigenvectors)");
  library.def(
      "eigh.out(Tensor A, str UPLO=\"L\", str? rule=None, float[] parameters=[], *, "
      "Tensor(a!) eigenvalues, Tensor(b!) eigenvectors) -> (Tensor(a!) eigenvalues, Tensor(b!) eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh", eigh_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eigh.out", eigh_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh", eigh_meta);
}

} // namespace spectralgrad
