#include "ops/consecutive_eigenpairs.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "core/optional_tensor.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/eigh_jvp.h"
#include "ops/eigh_subset_vjp.h"
#include "ops/eigh_vjp.h"
#include "ops/empty_gradient.h"
#include "ops/generalized_decomposition.h"
#include "ops/generalized_eigh_jvp.h"
#include "ops/generalized_eigh_vjp.h"
#include "ops/hermitian_decomposition.h"
#include "ops/split.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Dictionary;
using autograd::Saved;
using autograd::variable_list;

/// The kept eigenvalues and eigenvectors, then all of them, then the diagonal of B (*, n), or (*, 0) without B. The
/// derivatives need all eigenpairs and the diagonal, which is a constant.
using KeptAndAll = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

KeptAndAll with_kept(
    std::tuple<Tensor, Tensor> all,
    Tensor B_diagonal,
    const c10::SymInt& start,
    const c10::SymInt& stop) {
  auto& [eigenvalues, eigenvectors] = all;
  auto kept_values = eigenvalues.slice_symint(-1, start, stop).clone(at::MemoryFormat::Contiguous);
  // Column-major, as a decomposition returns them.
  auto kept_vectors = eigenvectors.slice_symint(-1, start, stop).mT().clone(at::MemoryFormat::Contiguous).mT();
  return {
      std::move(kept_values),
      std::move(kept_vectors),
      std::move(eigenvalues),
      std::move(eigenvectors),
      std::move(B_diagonal)};
}

/// A tensor of the shape of the eigenvalues, (*, 0).
Tensor no_diagonal(const Tensor& eigenvalues) {
  return empty_gradient(/*is_needed=*/false, eigenvalues);
}

KeptAndAll kernel(
    const Tensor& A,
    const OptionalTensor& B,
    c10::SymInt start,
    c10::SymInt stop,
    std::string_view UPLO,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  const std::string function(caller);
  check_hermitian_arguments(function.c_str(), A, UPLO);
  auto [eigenvalues, eigenvectors] = B
      ? generalized_decomposition(function.c_str(), A, *B, UPLO, /*itype=*/1)
      : hermitian_decomposition(function.c_str(), A, UPLO, /*compute_eigenvectors=*/true);
  auto diagonal = B ? real_diagonal(*B) : no_diagonal(eigenvalues);
  return with_kept(
      {split_eigenvalues(eigenvalues, Rule::parse(rule, parameters)), std::move(eigenvectors)},
      std::move(diagonal),
      start,
      stop);
}

KeptAndAll meta(
    const Tensor& A,
    const OptionalTensor& B,
    c10::SymInt start,
    c10::SymInt stop,
    std::string_view UPLO,
    std::string_view,
    RuleParameters,
    std::string_view caller) {
  check_hermitian_arguments(std::string(caller).c_str(), A, UPLO);
  auto all = hermitian_decomposition_meta(A);
  auto diagonal = B ? at::empty_like(std::get<0>(all)) : no_diagonal(std::get<0>(all));
  return with_kept(std::move(all), std::move(diagonal), start, stop);
}

constexpr autograd::OperatorHandle<"spectralgrad::consecutive_eigenpairs", kernel> consecutive_eigenpairs_op;

/// Inputs: {A, B}, where B may be undefined; outputs: `KeptAndAll`.
struct ConsecutiveEigenpairs {
  static constexpr const char* name = "EighSubset";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    int64_t start;
    int64_t stop;
    bool generalized;
    std::string UPLO;

    void save(Dictionary& dictionary) const {
      DerivativeOptions::save(dictionary);
      dictionary["start"] = start;
      dictionary["stop"] = stop;
      dictionary["generalized"] = generalized;
    }

    // The derivatives do not need UPLO: the gradient is Hermitian, whichever triangle was read.
    static Options load(const Dictionary& dictionary) {
      return {
          load_base(dictionary),
          dictionary.at("start").toInt(),
          dictionary.at("stop").toInt(),
          dictionary.at("generalized").toBool(),
          ""};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return autograd::to_list(consecutive_eigenpairs_op.call(
        inputs[0],
        optional(inputs[1]),
        options.start,
        options.stop,
        options.UPLO,
        options.rule.name(),
        options.rule.parameters(),
        options.caller));
  }

  static variable_list vjp(const variable_list& g, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.outputs;
    const auto generalized = [&](const Tensor& gL, const Tensor& gV, int64_t first) -> variable_list {
      auto [gA, gB] = generalized_eigh_vjp(
          gL,
          gV,
          x[2],
          x[3],
          x[4],
          /*itype=*/1,
          first,
          saved.needed[0],
          saved.needed[1],
          options.rule);
      return {std::move(gA), std::move(gB)};
    };
    if (!g[2].defined() && !g[3].defined()) {
      if (options.generalized) {
        return generalized(g[0], g[1], options.start);
      }
      return {eigh_subset_vjp(g[0], g[1], x[2], x[3], options.start, options.rule), Tensor()};
    }
    // Added before anything else: each of the two alone may depend on the phases of the vectors.
    const auto total = [&](int i) {
      const auto& kept = g[i];
      if (!kept.defined()) {
        return g[i + 2];
      }
      const auto zeros = at::zeros_like(x[i + 2]);
      const auto padded = at::cat({zeros.slice(-1, 0, options.start), kept, zeros.slice(-1, options.stop)}, -1);
      return g[i + 2].defined() ? g[i + 2] + padded : padded;
    };
    if (options.generalized) {
      return generalized(total(0), total(1), 0);
    }
    return {eigh_vjp(total(0), total(1), x[2], x[3], options.rule), Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.outputs;
    auto [dL, dV] = options.generalized
        ? generalized_eigh_jvp(tangents[0], tangents[1], x[2], x[3], x[4], /*itype=*/1, options.rule)
        : eigh_jvp(tangents[0], x[2], x[3], options.rule);
    auto kept_dL = dL.slice(-1, options.start, options.stop).clone();
    auto kept_dV = dV.slice(-1, options.start, options.stop).clone();
    return {std::move(kept_dL), std::move(kept_dV), std::move(dL), std::move(dV), Tensor()};
  }
};

KeptAndAll autograd_kernel(
    const Tensor& A,
    const OptionalTensor& B,
    c10::SymInt start,
    c10::SymInt stop,
    std::string_view UPLO,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::CallerState state;
  return autograd::from_list<KeptAndAll>(autograd::differentiable<ConsecutiveEigenpairs>(
      {A, tensor_or_undefined(B)},
      {{Rule::parse(rule, parameters), std::string(caller)},
       start.guard_int(__FILE__, __LINE__),
       stop.guard_int(__FILE__, __LINE__),
       B.has_value(),
       std::string(UPLO)}));
}

} // namespace

std::tuple<Tensor, Tensor> consecutive_eigenpairs(
    const char* function,
    const Tensor& A,
    const OptionalTensor& B,
    const c10::SymInt& start,
    const c10::SymInt& stop,
    std::string_view UPLO,
    const Rule& rule) {
  auto outputs = consecutive_eigenpairs_op.call(A, B, start, stop, UPLO, rule.name(), rule.parameters(), function);
  return {std::move(std::get<0>(outputs)), std::move(std::get<1>(outputs))};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "consecutive_eigenpairs(Tensor A, Tensor? B, SymInt start, SymInt stop, str UPLO, str rule, float[] parameters, "
      "str caller) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("consecutive_eigenpairs", kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("consecutive_eigenpairs", meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("consecutive_eigenpairs", autograd_kernel);
}

} // namespace spectralgrad::ops
