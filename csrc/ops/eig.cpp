#include <spectralgrad/eig.h>

#include "ops/eig.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/eig_jvp.h"
#include "ops/eig_vjp.h"
#include "ops/general_decomposition.h"

#include <ATen/TensorOperators.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Dictionary;
using autograd::Saved;
using autograd::variable_list;
using Name = std::optional<std::string_view>;

std::string eig_function_name() {
  return caller_name("eig");
}

std::tuple<Tensor, Tensor> eig_kernel(const Tensor& A, RuleName rule, RuleParameters parameters, Name method) {
  const auto function = eig_function_name();
  check_square_matrix(function.c_str(), A);
  resolve_rule(rule, parameters);
  return general_decomposition(function.c_str(), A, /*compute_eigenvectors=*/true, method);
}

std::tuple<Tensor, Tensor> eig_meta(const Tensor& A, RuleName rule, RuleParameters parameters, Name) {
  check_square_matrix(eig_function_name().c_str(), A);
  resolve_rule(rule, parameters);
  return general_decomposition_meta(A);
}

std::tuple<Tensor&, Tensor&> eig_out_kernel(
    const Tensor& A,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues,
    Tensor& eigenvectors) {
  check_out_not_differentiated("eig", {A, eigenvalues, eigenvectors});
  const auto result = eig_kernel(A, rule, parameters, std::nullopt);
  write_out(std::get<0>(result), eigenvalues);
  write_out(std::get<1>(result), eigenvectors);
  return {eigenvalues, eigenvectors};
}

constexpr autograd::OperatorHandle<"spectralgrad::eig", eig_kernel> eig_op;
constexpr autograd::OperatorHandle<"spectralgrad::eig", eig_out_kernel, "out"> eig_out_op;

/// `eig` as an operation for autograd/differentiable_op.h. Inputs: {A}; outputs: {eigenvalues, eigenvectors, a copy of
/// A}. The copy is for the gradient of near-defective matrices. The caller may change A itself, as with torch.linalg.
struct Eig {
  static constexpr const char* name = "Eig";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    std::optional<std::string> method;

    // The derivatives do not need the method.
    static Options load(const Dictionary& dictionary) {
      return {load_base(dictionary), {}};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    const EncodedRule rule(options.rule);
    auto [eigenvalues, eigenvectors] = eig_op.call(inputs[0], rule.name, rule.parameters, options.method);
    return {std::move(eigenvalues), std::move(eigenvectors), inputs[0].clone()};
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& outputs = saved.outputs;
    auto result = eig_vjp(cotangents[0], cotangents[1], outputs[0], outputs[1], outputs[2], options.rule);
    if (cotangents[2].defined()) {
      result = result.defined() ? result + cotangents[2] : cotangents[2];
    }
    return {std::move(result)};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    auto [eigenvalues, eigenvectors] = eig_jvp(tangents[0], saved.outputs[0], saved.outputs[1], options.rule);
    return {std::move(eigenvalues), std::move(eigenvectors), tangents[0].clone()};
  }
};

std::tuple<Tensor, Tensor> eig_autograd(const Tensor& A, RuleName rule, RuleParameters parameters, Name method) {
  const autograd::CallerState caller;
  if (!autograd::is_differentiated(A)) {
    return autograd::below_autograd([&] { return eig_op.call(A, rule, parameters, method); });
  }
  return differentiable_eig(A, resolve_rule(rule, parameters), method);
}

} // namespace

std::tuple<Tensor, Tensor> differentiable_eig(const Tensor& A, const Rule& rule, Name method) {
  return autograd::from_list<std::tuple<Tensor, Tensor>>(
      autograd::differentiable<Eig>({A}, {{rule, eig_function_name()}, std::optional<std::string>(method)}));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eig(Tensor A, str? rule=None, float[] parameters=[], str? method=None) "
      "-> (Tensor eigenvalues, Tensor eigenvectors)");
  library.def(
      "eig.out(Tensor A, str? rule=None, float[] parameters=[], *, Tensor(a!) eigenvalues, "
      "Tensor(b!) eigenvectors) -> (Tensor(a!) eigenvalues, Tensor(b!) eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eig", eig_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eig.out", eig_out_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eig", eig_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eig", eig_autograd);
}

} // namespace spectralgrad::ops

namespace spectralgrad {

std::tuple<at::Tensor, at::Tensor> eig(const at::Tensor& A, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eig_op.call(A, encoded.name, encoded.parameters, std::nullopt);
}

std::tuple<at::Tensor&, at::Tensor&> eig_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eig_out_op.call(A, encoded.name, encoded.parameters, eigenvalues, eigenvectors);
}

} // namespace spectralgrad
