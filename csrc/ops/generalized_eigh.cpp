#include <spectralgrad/generalized_eigh.h>

#include "autograd/operator_handle.h"
#include "ops/arguments.h"
#include "ops/generalized_eigenpairs.h"

#include <ATen/ExpandUtils.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>
#include <utility>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::RuleName;
using ops::RuleParameters;

constexpr const char* generalized_eigh_name = "generalized_eigh";

c10::SymIntArrayRef batch_shape(const Tensor& A) {
  return A.sym_sizes().slice(0, A.dim() - 2);
}

bool can_broadcast(c10::SymIntArrayRef a, c10::SymIntArrayRef b) {
  for (size_t i = 1; i <= std::min(a.size(), b.size()); ++i) {
    const auto& of_a = a[a.size() - i];
    const auto& of_b = b[b.size() - i];
    if (of_a != of_b && of_a != 1 && of_b != 1) {
      return false;
    }
  }
  return true;
}

void check_generalized_arguments(const Tensor& A, const Tensor& B, std::string_view UPLO, int64_t itype) {
  ops::check_hermitian_arguments(generalized_eigh_name, A, UPLO);
  ops::check_hermitian_arguments(generalized_eigh_name, B, UPLO, "B");
  const auto wrong = ops::mismatch(A, B, "size");
  TORCH_CHECK_VALUE(wrong.empty(), "spectralgrad.generalized_eigh: ", wrong);
  TORCH_CHECK_VALUE(
      A.device() == B.device(),
      "spectralgrad.generalized_eigh: Expected A and B on one device, but got ",
      A.device(),
      " and ",
      B.device());
  TORCH_CHECK_VALUE(
      itype >= 1 && itype <= 3,
      "spectralgrad.generalized_eigh: Expected itype to be 1, 2 or 3, but got ",
      itype);
  TORCH_CHECK_VALUE(
      can_broadcast(batch_shape(A), batch_shape(B)),
      "spectralgrad.generalized_eigh: Expected the batches of A and B to broadcast, but their shapes are ",
      batch_shape(A),
      " and ",
      batch_shape(B));
}

std::tuple<Tensor, Tensor> generalized_eigh_composition(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters) {
  check_generalized_arguments(A, B, UPLO, itype);
  if (batch_shape(A) == batch_shape(B)) {
    return ops::generalized_eigenpairs(A, B, UPLO, itype, rule, parameters);
  }
  const auto shape = at::infer_size_symdimvector(A.sym_sizes(), B.sym_sizes());
  return ops::generalized_eigenpairs(A.expand_symint(shape), B.expand_symint(shape), UPLO, itype, rule, parameters);
}

std::tuple<Tensor&, Tensor&> generalized_eigh_out_kernel(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues,
    Tensor& eigenvectors) {
  ops::check_out_not_differentiated(generalized_eigh_name, {A, B, eigenvalues, eigenvectors});
  const auto result = generalized_eigh_composition(A, B, UPLO, itype, rule, parameters);
  ops::write_out(std::get<0>(result), eigenvalues);
  ops::write_out(std::get<1>(result), eigenvectors);
  return {eigenvalues, eigenvectors};
}

constexpr autograd::OperatorHandle<"spectralgrad::generalized_eigh", generalized_eigh_composition> generalized_eigh_op;
constexpr autograd::OperatorHandle<"spectralgrad::generalized_eigh", generalized_eigh_out_kernel, "out">
    generalized_eigh_out_op;

} // namespace

std::tuple<Tensor, Tensor> generalized_eigh(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return generalized_eigh_op.call(A, B, UPLO, itype, encoded.name, encoded.parameters);
}

std::tuple<Tensor&, Tensor&> generalized_eigh_out(
    Tensor& eigenvalues,
    Tensor& eigenvectors,
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return generalized_eigh_out_op.call(A, B, UPLO, itype, encoded.name, encoded.parameters, eigenvalues, eigenvectors);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "generalized_eigh(Tensor A, Tensor B, str UPLO=\"L\", int itype=1, str? rule=None, float[] parameters=[]) "
      "-> (Tensor eigenvalues, Tensor eigenvectors)");
  library.def(
      "generalized_eigh.out(Tensor A, Tensor B, str UPLO=\"L\", int itype=1, str? rule=None, float[] parameters=[], *, "
      "Tensor(a!) eigenvalues, Tensor(b!) eigenvectors) -> (Tensor(a!) eigenvalues, Tensor(b!) eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("generalized_eigh", generalized_eigh_composition);
  library.impl("generalized_eigh.out", generalized_eigh_out_kernel);
}

} // namespace spectralgrad
