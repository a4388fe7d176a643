#include <spectralgrad/svd.h>

#include "ops/svd.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/singular_value_decomposition.h"
#include "ops/split.h"
#include "ops/svd_jvp.h"
#include "ops/svd_vjp.h"

#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Dictionary;
using autograd::Saved;
using autograd::variable_list;
using Name = std::optional<std::string_view>;

std::string svd_function_name() {
  return caller_name("svd");
}

SingularVectors vectors(bool full_matrices) {
  return full_matrices ? SingularVectors::full : SingularVectors::thin;
}

std::optional<std::string> owned(Name name) {
  return name ? std::make_optional(std::string(*name)) : std::nullopt;
}

std::tuple<Tensor, Tensor, Tensor> svd_kernel(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    RuleName rule,
    RuleParameters parameters,
    Name method) {
  const auto function = svd_function_name();
  check_matrix(function.c_str(), A);
  const auto resolved = resolve_rule(rule, parameters);
  auto [U, singular_values, Vh] =
      singular_value_decomposition(function.c_str(), A, vectors(full_matrices), driver, method);
  const bool is_square = A.size(-1) == A.size(-2);
  return {std::move(U), split_singular_values(singular_values, is_square, resolved), std::move(Vh)};
}

std::tuple<Tensor, Tensor, Tensor> svd_meta(
    const Tensor& A,
    bool full_matrices,
    Name,
    RuleName rule,
    RuleParameters parameters,
    Name) {
  check_matrix(svd_function_name().c_str(), A);
  resolve_rule(rule, parameters);
  return singular_value_decomposition_meta(A, vectors(full_matrices));
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
  check_out_not_differentiated("svd", {A, U, S, Vh});
  const auto result = svd_kernel(A, full_matrices, driver, rule, parameters, std::nullopt);
  write_out(std::get<0>(result), U);
  write_out(std::get<1>(result), S);
  write_out(std::get<2>(result), Vh);
  return {U, S, Vh};
}

constexpr autograd::OperatorHandle<"spectralgrad::svd", svd_kernel> svd_op;
constexpr autograd::OperatorHandle<"spectralgrad::svd", svd_out_kernel, "out"> svd_out_op;

/// `svd` as an operation for autograd/differentiable_op.h. Inputs: {A}; outputs: {U, sigma, V^H}.
struct Svd {
  static constexpr const char* name = "Svd";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    bool full_matrices;
    std::optional<std::string> driver;
    std::optional<std::string> method;

    // The shapes of the outputs tell the derivatives whether they are full.
    static Options load(const Dictionary& dictionary) {
      return {load_base(dictionary), false, {}, {}};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    const EncodedRule rule(options.rule);
    return autograd::to_list(
        svd_op.call(inputs[0], options.full_matrices, options.driver, rule.name, rule.parameters, options.method));
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& outputs = saved.outputs;
    return {svd_vjp(cotangents[0], cotangents[1], cotangents[2], outputs[0], outputs[1], outputs[2], options.rule)};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& outputs = saved.outputs;
    auto [dU, dS, dVh] = svd_jvp(tangents[0], outputs[0], outputs[1], outputs[2], options.rule);
    return {std::move(dU), std::move(dS), std::move(dVh)};
  }
};

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
  return differentiable_svd(A, full_matrices, driver, resolve_rule(rule, parameters), method);
}

} // namespace

std::tuple<Tensor, Tensor, Tensor> differentiable_svd(
    const Tensor& A,
    bool full_matrices,
    Name driver,
    const Rule& rule,
    Name method) {
  return autograd::from_list<std::tuple<Tensor, Tensor, Tensor>>(
      autograd::differentiable<Svd>({A}, {{rule, svd_function_name()}, full_matrices, owned(driver), owned(method)}));
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

} // namespace spectralgrad::ops

namespace spectralgrad {

using at::Tensor;

std::tuple<Tensor, Tensor, Tensor> svd(
    const Tensor& A,
    bool full_matrices,
    std::optional<std::string_view> driver,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::svd_op.call(A, full_matrices, driver, encoded.name, encoded.parameters, std::nullopt);
}

std::tuple<Tensor&, Tensor&, Tensor&> svd_out(
    Tensor& U,
    Tensor& S,
    Tensor& Vh,
    const Tensor& A,
    bool full_matrices,
    std::optional<std::string_view> driver,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::svd_out_op.call(A, full_matrices, driver, encoded.name, encoded.parameters, U, S, Vh);
}

} // namespace spectralgrad
