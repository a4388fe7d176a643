#include <spectralgrad/eigh.h>

#include "ops/eigh.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "math/eigh.h"
#include "math/is_large.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/eigh_jvp.h"
#include "ops/eigh_vjp.h"
#include "ops/split.h"

#include <torch/library.h>

#include <optional>
#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Dictionary;
using autograd::Saved;
using autograd::variable_list;

std::tuple<Tensor, Tensor> eigh_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method) {
  const auto function = caller_name();
  check_hermitian_arguments(function.c_str(), A, UPLO);
  const auto resolved = resolve_rule(rule, parameters);
  auto [eigenvalues, eigenvectors] =
      hermitian_decomposition(function.c_str(), A, UPLO, /*compute_eigenvectors=*/true, method);
  return {split_eigenvalues(eigenvalues, resolved), std::move(eigenvectors)};
}

std::tuple<Tensor, Tensor> eigh_meta(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName) {
  check_hermitian_arguments(caller_name().c_str(), A, UPLO);
  resolve_rule(rule, parameters);
  return hermitian_decomposition_meta(A);
}

std::tuple<Tensor&, Tensor&> eigh_out_kernel(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    Tensor& eigenvalues,
    Tensor& eigenvectors) {
  check_out_not_differentiated("eigh", {A, eigenvalues, eigenvectors});
  const auto result = eigh_kernel(A, UPLO, rule, parameters, std::nullopt);
  write_out(std::get<0>(result), eigenvalues);
  write_out(std::get<1>(result), eigenvectors);
  return {eigenvalues, eigenvectors};
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh", eigh_kernel> eigh_op;
constexpr autograd::OperatorHandle<"spectralgrad::eigh", eigh_out_kernel, "out"> eigh_out_op;

/// `eigh` as an operation for autograd/differentiable_op.h. Inputs: {A}; outputs: {eigenvalues, eigenvectors}.
struct Eigh {
  static constexpr const char* name = "Eigh";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    bool only_eigenvalues;
    std::string UPLO;
    std::optional<std::string> method;

    void save(Dictionary& dictionary) const {
      DerivativeOptions::save(dictionary);
      dictionary["only_eigenvalues"] = only_eigenvalues;
    }
    // The derivatives need neither UPLO nor the method: the gradient is Hermitian, whichever triangle was read.
    static Options load(const Dictionary& dictionary) {
      return {load_base(dictionary), dictionary.at("only_eigenvalues").toBool(), "", {}};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    const EncodedRule rule(options.rule);
    return autograd::to_list(eigh_op.call(inputs[0], options.UPLO, rule.name, rule.parameters, options.method));
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    return {eigh_vjp(cotangents[0], cotangents[1], saved.outputs[0], saved.outputs[1], options.rule)};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    // For small matrices, the kernel takes less time, although it computes both.
    if (options.only_eigenvalues && math::is_large(saved.outputs[1])) {
      return {math::eigvalsh_jvp(tangents[0], saved.outputs[0], saved.outputs[1]), Tensor()};
    }
    auto [eigenvalues, eigenvectors] = eigh_jvp(tangents[0], saved.outputs[0], saved.outputs[1], options.rule);
    return {std::move(eigenvalues), std::move(eigenvectors)};
  }
};

std::tuple<Tensor, Tensor> eigh_autograd(
    const Tensor& A,
    std::string_view UPLO,
    RuleName rule,
    RuleParameters parameters,
    MethodName method) {
  const autograd::CallerState caller;
  if (!autograd::is_differentiated(A)) {
    return autograd::below_autograd([&] { return eigh_op.call(A, UPLO, rule, parameters, method); });
  }
  return differentiable_eigh(A, UPLO, resolve_rule(rule, parameters), method);
}

} // namespace

std::tuple<Tensor, Tensor> differentiable_eigh(
    const Tensor& A,
    std::string_view UPLO,
    const Rule& rule,
    MethodName method,
    bool only_eigenvalues) {
  return autograd::from_list<std::tuple<Tensor, Tensor>>(autograd::differentiable<Eigh>(
      {A},
      {{rule, caller_name()}, only_eigenvalues, std::string(UPLO), std::optional<std::string>(method)}));
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

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh", eigh_autograd);
}

} // namespace spectralgrad::ops

namespace spectralgrad {

std::tuple<at::Tensor, at::Tensor> eigh(const at::Tensor& A, std::string_view UPLO, const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eigh_op.call(A, UPLO, encoded.name, encoded.parameters, std::nullopt);
}

std::tuple<at::Tensor&, at::Tensor&> eigh_out(
    at::Tensor& eigenvalues,
    at::Tensor& eigenvectors,
    const at::Tensor& A,
    std::string_view UPLO,
    const std::optional<Rule>& rule) {
  const ops::EncodedRule encoded(rule ? *rule : default_rule());
  return ops::eigh_out_op.call(A, UPLO, encoded.name, encoded.parameters, eigenvalues, eigenvectors);
}

} // namespace spectralgrad
