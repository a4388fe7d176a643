#include <spectralgrad/eigh_subset.h>

#include "autograd/operator_handle.h"
#include "core/optional_tensor.h"
#include "ops/arguments.h"
#include "ops/consecutive_eigenpairs.h"

#include <ATen/ops/broadcast_tensors.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;

constexpr const char* eigh_subset_name = "eigh_subset";

struct Range {
  c10::SymInt start;
  c10::SymInt stop;
};

/// The indices as in Python's slices, but those out of range raise an error.
Range range_of(const std::optional<c10::SymInt>& start, const std::optional<c10::SymInt>& stop, const c10::SymInt& n) {
  const auto from_zero = [&](const std::optional<c10::SymInt>& index, const c10::SymInt& otherwise) {
    return !index ? otherwise : *index < 0 ? *index + n : *index;
  };
  Range range{from_zero(start, 0), from_zero(stop, n)};
  const auto given = [](const std::optional<c10::SymInt>& index) {
    return index ? c10::str(*index) : "None";
  };
  TORCH_CHECK_VALUE(
      range.start >= 0 && range.start <= range.stop && range.stop <= n,
      "spectralgrad.eigh_subset: Expected 0 <= start <= stop <= ",
      n,
      ", where negative indices count from the end, but got start=",
      given(start),
      " and stop=",
      given(stop));
  return range;
}

void check_B(const Tensor& A, const Tensor& B) {
  ops::check_matrix(eigh_subset_name, B, "B");
  TORCH_CHECK(
      B.scalar_type() == A.scalar_type(),
      "spectralgrad.eigh_subset: Expected B to have the dtype of A, ",
      A.scalar_type(),
      ", but got ",
      B.scalar_type());
  TORCH_CHECK(
      B.sym_size(-1) == A.sym_size(-1) && B.sym_size(-2) == A.sym_size(-1),
      "spectralgrad.eigh_subset: Expected B to be ",
      A.sym_size(-1),
      " by ",
      A.sym_size(-1),
      ", as A is, but it is ",
      B.sym_size(-2),
      " by ",
      B.sym_size(-1));
}

std::tuple<Tensor, Tensor> eigh_subset_composition(
    const Tensor& A,
    // NOLINTBEGIN(performance-unnecessary-value-param): the dispatcher passes these types by value.
    std::optional<c10::SymInt> start,
    std::optional<c10::SymInt> stop,
    // NOLINTEND(performance-unnecessary-value-param)
    std::string_view UPLO,
    const OptionalTensor& B,
    ops::RuleName rule,
    ops::RuleParameters parameters) {
  ops::check_hermitian_arguments(eigh_subset_name, A, UPLO);
  const auto [from, to] = range_of(start, stop, A.sym_size(-1));
  const auto resolved = ops::resolve_rule(rule, parameters);
  if (!B || !B->defined()) {
    return ops::consecutive_eigenpairs(eigh_subset_name, A, std::nullopt, from, to, UPLO, resolved);
  }
  check_B(A, *B);
  const auto both = at::broadcast_tensors({A, *B});
  return ops::consecutive_eigenpairs(eigh_subset_name, both[0], both[1], from, to, UPLO, resolved);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_subset", eigh_subset_composition> eigh_subset_op;

} // namespace

std::tuple<Tensor, Tensor> eigh_subset(
    const Tensor& A,
    std::optional<int64_t> start,
    std::optional<int64_t> stop,
    std::string_view UPLO,
    const std::optional<Tensor>& B,
    const std::optional<Rule>& rule) {
  const auto symbolic = [](std::optional<int64_t> index) {
    return index ? std::make_optional<c10::SymInt>(*index) : std::nullopt;
  };
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return eigh_subset_op.call(A, symbolic(start), symbolic(stop), UPLO, B, encoded.name, encoded.parameters);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_subset(Tensor A, SymInt? start, SymInt? stop, str UPLO=\"L\", Tensor? B=None, str? rule=None, "
      "float[] parameters=[]) -> (Tensor eigenvalues, Tensor eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eigh_subset", eigh_subset_composition);
}

} // namespace spectralgrad
