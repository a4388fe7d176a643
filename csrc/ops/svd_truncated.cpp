#include <spectralgrad/svd_truncated.h>

#include "autograd/operator_handle.h"
#include "ops/arguments.h"
#include "ops/singular_triples.h"
#include "ops/truncation_rank.h"

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using Name = std::optional<std::string_view>;

constexpr const char* svd_truncated_name = "svd_truncated";

std::tuple<Tensor, Tensor, Tensor> svd_truncated_composition(
    const Tensor& A,
    std::optional<c10::SymInt> rank,
    std::optional<double> rtol,
    std::optional<double> atol,
    bool keep_multiplets,
    Name driver,
    ops::RuleName rule,
    ops::RuleParameters parameters) {
  ops::check_matrix(svd_truncated_name, A);
  const ops::TruncationArguments truncation{std::move(rank), rtol, atol, keep_multiplets};
  truncation.check(svd_truncated_name);
  const auto resolved = ops::resolve_rule(rule, parameters);
  const auto triples = ops::singular_triples(svd_truncated_name, A, driver);
  const auto larger_side = A.sym_size(-1).max(A.sym_size(-2));
  const auto count = truncation.number_kept(svd_truncated_name, std::get<1>(triples), larger_side);
  return ops::leading_singular_triples(svd_truncated_name, A, triples, count, resolved);
}

constexpr autograd::OperatorHandle<"spectralgrad::svd_truncated", svd_truncated_composition> svd_truncated_op;

} // namespace

std::tuple<Tensor, Tensor, Tensor> svd_truncated(
    const Tensor& A,
    std::optional<int64_t> rank,
    std::optional<double> rtol,
    std::optional<double> atol,
    bool keep_multiplets,
    Name driver,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return svd_truncated_op.call(
      A,
      rank ? std::make_optional<c10::SymInt>(*rank) : std::nullopt,
      rtol,
      atol,
      keep_multiplets,
      driver,
      encoded.name,
      encoded.parameters);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "svd_truncated(Tensor A, SymInt? rank=None, float? rtol=None, float? atol=None, bool keep_multiplets=True, "
      "str? driver=None, str? rule=None, float[] parameters=[]) -> (Tensor U, Tensor S, Tensor Vh)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("svd_truncated", svd_truncated_composition);
}

} // namespace spectralgrad
