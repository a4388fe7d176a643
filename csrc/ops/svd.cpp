#include <spectralgrad/svd.h>

#include "ops/svd.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/singular_value_decomposition.h"
#include "ops/split.h"
#include "ops/svd_jvp.h"
#include "ops/svd_vjp.h"

#include <torch/library.h>

#include <utility>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::RuleName;
using ops::RuleParameters;
using ops::SingularVectors;
using Name = std::optional<std::string_view>;

std::string function_name() {
  return caller_name("svd");
}

SingularVectors vectors(bool full_matrices) {
  return full_matrices ? SingularVectors::full : SingularVectors::thin;
}

std::tuple<Tensor, Tensor, Tensor> svd_kernel(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    RuleName rule,
    RuleParameters parameters,
    Name method) {
  const auto function = function_name();
  ops::check_matrix(function.c_str(), A);
  const auto resolved = ops::resolve_rule(rule, parameters);
  auto [U, singular_values, Vh] =
      ops::singular_value_decomposition(function.c_str(), A, vectors(full_matrices), driver, method);
  const bool is_square = A.size(-1) == A.size(-2);
  return {std::move(U), ops::split_singular_values(singular_values, is_square, resolved), std::move(Vh)};
}

std::tuple<Tensor, Tensor, Tensor> svd_meta(
    const Tensor& A,
    bool full_matrices,
    Name,
    RuleName rule,
    RuleParameters parameters,
    Name) {
  ops::check_matrix(function_name().c_str(), A);
  ops::resolve_rule(rule, parameters);
  return ops::singular_value_decomposition_meta(A, vectors(full_matrices));
}

std::tuple<Tensor&, Tensor&, Tensor&> svd_out_kernel(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    RuleName rule,
    RuleParameters parameters,
    Tensor& U,
    Tensor& S,
    Tensor& Vh) {
  ops::check_out_not_differentiated("svd", {A, U, S, Vh});
  const auto result = svd_kernel(A, full_matrices, driver, rule, parameters, std::nullopt);
  ops::write_out(std::get<0>(result), U);
  ops::write_out(std::get<1>(result), S);
  ops::write_out(std::get<2>(result), Vh);
  return {U, S, Vh};
}

constexpr autograd::OperatorHandle<"spectralgrad::svd", svd_kernel> svd_op;
constexpr autograd::OperatorHandle<"spectralgrad::svd", svd_out_kernel, "out"> svd_out_op;

std::tuple<Tensor, Tensor, Tensor> svd_autograd(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    RuleName rule,
    RuleParameters parameters,
    Name method) {
  const autograd::CallerState caller;
  if (!autograd::is_differentiated(A)) {
    return autograd::below_autograd([&] { return svd_op.call(A, full_matrices, driver, rule, parameters, method); });
  }
  auto outputs = autograd::differentiable<ops::Svd>(
      {A},
      {full_matrices,
       driver ? std::make_optional(std::string(*driver)) : std::nullopt,
       ops::resolve_rule(rule, parameters),
       method ? std::make_optional(std::string(*method)) : std::nullopt,
       function_name()});
  return {std::move(outputs[0]), std::move(outputs[1]), std::move(outputs[2])};
}

} // namespace

namespace ops {

void Svd::Options::save(autograd::Dictionary& dictionary) const {
  // The derivatives need no other options, because the shapes of the outputs say whether they are full.
  dictionary["rule"] = rule.name();
  dictionary["parameters"] = rule.parameters();
  dictionary["caller"] = caller;
}

Svd::Options Svd::Options::load(const autograd::Dictionary& dictionary) {
  return {
      false,
      {},
      Rule::parse(dictionary.at("rule").toStringRef(), dictionary.at("parameters").toDoubleVector()),
      {},
      dictionary.at("caller").toStringRef()};
}

Svd::variable_list Svd::forward(const variable_list& inputs, const Options& options) {
  const EncodedRule rule(options.rule);
  auto [U, singular_values, Vh] =
      svd_op.call(inputs[0], options.full_matrices, options.driver, rule.name, rule.parameters, options.method);
  return {std::move(U), std::move(singular_values), std::move(Vh)};
}

Svd::variable_list Svd::vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
  const CallerNameGuard guard(options.caller);
  const auto& outputs = saved.outputs;
  return {svd_vjp(cotangents[0], cotangents[1], cotangents[2], outputs[0], outputs[1], outputs[2], options.rule)};
}

Svd::variable_list Svd::jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options) {
  const CallerNameGuard guard(options.caller);
  const auto& outputs = saved.outputs;
  auto [dU, dS, dVh] = svd_jvp(tangents[0], outputs[0], outputs[1], outputs[2], options.rule);
  return {std::move(dU), std::move(dS), std::move(dVh)};
}

} // namespace ops

std::tuple<Tensor, Tensor, Tensor> svd(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return svd_op.call(A, full_matrices, driver, encoded.name, encoded.parameters, std::nullopt);
}

std::tuple<Tensor&, Tensor&, Tensor&> svd_out(
    Tensor& U,
    Tensor& S,
    Tensor& Vh,
    const Tensor& A,
    bool full_matrices,
    Name driver,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return svd_out_op.call(A, full_matrices, driver, encoded.name, encoded.parameters, U, S, Vh);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "svd(Tensor A, bool full_matrices=True, str? driver=None, str? rule=None, float[] parameters=[], "
      "str? method=None) -> (Tensor U, Tensor S, Tensor Vh)");
  library.def(
      "svd.out(Tensor A, bool full_matrices=True, str? driver=None, str? rule=None, float[] parameters=[], *, "
      "Tensor(a!) U, Tensor(b!) S, Tensor(c!) Vh) -> (Tensor(a!) U, Tensor(b!) S, Tensor(c!) Vh)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("svd", svd_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("svd.out", svd_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("svd", svd_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("svd", svd_autograd);
}

} // namespace spectralgrad
