#include "ops/eigh_autograd.h"

#include "autograd/constant.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"
#include "ops/eigh.h"
#include "ops/eigh_jvp.h"
#include "ops/eigh_vjp.h"

#include <spectralgrad/eigh.h>

#include <torch/library.h>

namespace spectralgrad::autograd {

void Eigh::Options::save(Dictionary& dictionary) const {
  // The derivatives need neither UPLO nor the method: the gradient is Hermitian, whichever triangle was read.
  dictionary["rule"] = rule.name();
  dictionary["parameters"] = rule.parameters();
  dictionary["caller"] = caller;
}

Eigh::Options Eigh::Options::load(const Dictionary& dictionary) {
  return {
      "",
      Rule::parse(dictionary.at("rule").toStringRef(), dictionary.at("parameters").toDoubleVector()),
      {},
      dictionary.at("caller").toStringRef()};
}

variable_list Eigh::forward(const variable_list& inputs, const Options& options) {
  const ops::EncodedRule rule(options.rule);
  auto [eigenvalues, eigenvectors] =
      ops::call_eigh(inputs[0], options.UPLO, rule.name, rule.parameters, options.method);
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

variable_list Eigh::vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
  const CallerNameGuard guard(options.caller);
  return {ops::eigh_vjp(cotangents[0], cotangents[1], saved.outputs[0], saved.outputs[1], options.rule)};
}

variable_list Eigh::jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
  const CallerNameGuard guard(options.caller);
  auto [eigenvalues, eigenvectors] = ops::eigh_jvp(tangents[0], saved.outputs[0], saved.outputs[1], options.rule);
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

namespace {

std::tuple<Tensor, Tensor> eigh_autograd(
    const Tensor& A,
    std::string_view UPLO,
    ops::RuleName rule,
    ops::RuleParameters parameters,
    ops::MethodName method) {
  const CallerState caller;
  if (!autograd::is_differentiated(A)) {
    return below_autograd([&] { return ops::call_eigh(A, UPLO, rule, parameters, method); });
  }
  auto outputs = differentiable<Eigh>(
      {A},
      {std::string(UPLO), ops::resolve_rule(rule, parameters), std::optional<std::string>(method), caller_name()});
  return {std::move(outputs[0]), std::move(outputs[1])};
}

} // namespace

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh", eigh_autograd);
}

} // namespace spectralgrad::autograd
