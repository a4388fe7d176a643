#include "ops/generalized_eigenpairs.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/derivative_options.h"
#include "ops/generalized_decomposition.h"
#include "ops/generalized_eigh_jvp.h"
#include "ops/generalized_eigh_vjp.h"
#include "ops/hermitian_decomposition.h"
#include "ops/split.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Dictionary;
using autograd::Saved;
using autograd::variable_list;

/// Eigenvalues, eigenvectors, and the diagonal of B: a constant, which the derivatives need.
using PairsAndDiagonal = std::tuple<Tensor, Tensor, Tensor>;

std::string caller() {
  return caller_name("generalized_eigh");
}

PairsAndDiagonal pairs_kernel(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters) {
  const autograd::TensorCode tensor_code;
  const auto resolved = resolve_rule(rule, parameters);
  auto [eigenvalues, eigenvectors] = generalized_decomposition(caller().c_str(), A, B, UPLO, itype);
  return {split_eigenvalues(eigenvalues, resolved), std::move(eigenvectors), real_diagonal(B)};
}

PairsAndDiagonal pairs_meta(
    const Tensor& A,
    const Tensor&,
    std::string_view,
    int64_t,
    RuleName rule,
    RuleParameters parameters) {
  resolve_rule(rule, parameters);
  auto [eigenvalues, eigenvectors] = hermitian_decomposition_meta(A);
  const auto diagonal = at::empty_like(eigenvalues);
  return {std::move(eigenvalues), std::move(eigenvectors), diagonal};
}

constexpr autograd::OperatorHandle<"spectralgrad::generalized_eigenpairs", pairs_kernel> generalized_eigenpairs_op;

/// An operation for autograd/differentiable_op.h. Inputs: {A, B}; outputs: `PairsAndDiagonal`.
struct GeneralizedEigh {
  static constexpr const char* name = "GeneralizedEigh";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    int64_t itype;
    std::string UPLO;

    void save(Dictionary& dictionary) const {
      DerivativeOptions::save(dictionary);
      dictionary["itype"] = itype;
    }

    // The derivatives do not need UPLO: the gradients are Hermitian, whichever triangle was read.
    static Options load(const Dictionary& dictionary) {
      return {load_base(dictionary), dictionary.at("itype").toInt(), ""};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    const EncodedRule rule(options.rule);
    return autograd::to_list(
        generalized_eigenpairs_op.call(inputs[0], inputs[1], options.UPLO, options.itype, rule.name, rule.parameters));
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    auto [A, B] = generalized_eigh_vjp(
        cotangents[0],
        cotangents[1],
        saved.outputs[0],
        saved.outputs[1],
        saved.outputs[2],
        options.itype,
        /*first=*/0,
        saved.needed[0],
        saved.needed[1],
        options.rule);
    return {std::move(A), std::move(B)};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    auto [eigenvalues, eigenvectors] = generalized_eigh_jvp(
        tangents[0],
        tangents[1],
        saved.outputs[0],
        saved.outputs[1],
        saved.outputs[2],
        options.itype,
        options.rule);
    return {std::move(eigenvalues), std::move(eigenvectors), Tensor()};
  }
};

PairsAndDiagonal pairs_autograd(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters) {
  const autograd::CallerState state;
  if (!autograd::is_differentiated(A) && !autograd::is_differentiated(B)) {
    return autograd::below_autograd(
        [&] { return generalized_eigenpairs_op.call(A, B, UPLO, itype, rule, parameters); });
  }
  return autograd::from_list<PairsAndDiagonal>(autograd::differentiable<GeneralizedEigh>(
      {A, B},
      {{resolve_rule(rule, parameters), caller()}, itype, std::string(UPLO)}));
}

} // namespace

std::tuple<Tensor, Tensor> generalized_eigenpairs(
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype,
    RuleName rule,
    RuleParameters parameters) {
  auto [eigenvalues, eigenvectors, diagonal] = generalized_eigenpairs_op.call(A, B, UPLO, itype, rule, parameters);
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "generalized_eigenpairs(Tensor A, Tensor B, str UPLO=\"L\", int itype=1, str? rule=None, float[] parameters=[]) "
      "-> (Tensor eigenvalues, Tensor eigenvectors, Tensor B_diagonal)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("generalized_eigenpairs", pairs_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("generalized_eigenpairs", pairs_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("generalized_eigenpairs", pairs_autograd);
}

} // namespace spectralgrad::ops
