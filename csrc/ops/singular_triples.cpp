#include "ops/singular_triples.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "ops/arguments.h"
#include "ops/derivative_options.h"
#include "ops/singular_value_decomposition.h"
#include "ops/split.h"
#include "ops/svd_jvp.h"
#include "ops/svd_truncated_vjp.h"
#include "ops/svd_vjp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
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
using Name = std::optional<std::string_view>;

SingularTriples triples_kernel(const Tensor& A, Name driver, std::string_view function) {
  const std::string name(function);
  check_matrix(name.c_str(), A);
  return singular_value_decomposition(name.c_str(), A, SingularVectors::thin, driver);
}

SingularTriples triples_meta(const Tensor& A, Name, std::string_view function) {
  check_matrix(std::string(function).c_str(), A);
  return singular_value_decomposition_meta(A, SingularVectors::thin);
}

constexpr autograd::OperatorHandle<"spectralgrad::singular_triples", triples_kernel> triples_op;

/// The leading triples, and then all of them. Second derivatives need the others.
using LeadingAndAll = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

/// A copy in column-major layout, as a decomposition returns its factors.
Tensor column_major(const Tensor& x) {
  return x.mT().clone(at::MemoryFormat::Contiguous).mT();
}

LeadingAndAll leading_meta(
    const Tensor&,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    c10::SymInt count,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return {
      column_major(U.slice_symint(-1, 0, count)),
      singular_values.slice_symint(-1, 0, count).clone(at::MemoryFormat::Contiguous),
      column_major(Vh.slice_symint(-2, 0, count)),
      column_major(U),
      singular_values.clone(at::MemoryFormat::Contiguous),
      column_major(Vh)};
}

LeadingAndAll leading_kernel(
    const Tensor& A,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    c10::SymInt count,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const CallerNameGuard guard(caller);
  const auto moved = split_singular_values(singular_values, U.size(-2) == Vh.size(-1), Rule::parse(rule, parameters));
  return leading_meta(A, U, moved, Vh, std::move(count), rule, parameters, caller);
}

constexpr autograd::OperatorHandle<"spectralgrad::leading_singular_triples", leading_kernel> leading_op;

/// Inputs: {A, U, sigma, V^H}, the last three constants; outputs: `LeadingAndAll`.
struct LeadingSingularTriples {
  static constexpr const char* name = "SvdTruncated";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options : DerivativeOptions {
    c10::SymInt count;

    // The shapes of the outputs tell the derivatives how many triples lead.
    static Options load(const Dictionary& dictionary) {
      return {load_base(dictionary), 0};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return autograd::to_list(leading_op.call(
        inputs[0],
        inputs[1],
        inputs[2],
        inputs[3],
        options.count,
        options.rule.name(),
        options.rule.parameters(),
        options.caller));
  }

  static variable_list vjp(const variable_list& g, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.outputs;
    if (!g[3].defined() && !g[4].defined() && !g[5].defined()) {
      return {svd_truncated_vjp(g[0], g[1], g[2], x[3], x[4], x[5], options.rule), Tensor(), Tensor(), Tensor()};
    }
    // Added before anything else: each of the two alone may depend on the phases of the vectors.
    const auto total = [&](int i, int64_t dim) {
      const auto& leading = g[i];
      if (!leading.defined()) {
        return g[i + 3];
      }
      const auto others = at::zeros_like(x[i + 3].slice_symint(dim, leading.sym_size(dim)));
      const auto padded = at::cat({leading, others}, dim);
      return g[i + 3].defined() ? g[i + 3] + padded : padded;
    };
    return {
        svd_vjp(total(0, -1), total(1, -1), total(2, -2), x[3], x[4], x[5], options.rule),
        Tensor(),
        Tensor(),
        Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.caller);
    const auto& x = saved.outputs;
    const auto count = x[1].sym_size(-1);
    auto [dU, dS, dVh] = svd_jvp(tangents[0], x[3], x[4], x[5], options.rule);
    const auto leading = [&](const Tensor& tangent, int64_t dim) {
      return tangent.slice_symint(dim, 0, count).clone();
    };
    auto first_U = leading(dU, -1);
    auto first_S = leading(dS, -1);
    auto first_Vh = leading(dVh, -2);
    return {std::move(first_U), std::move(first_S), std::move(first_Vh), std::move(dU), std::move(dS), std::move(dVh)};
  }
};

LeadingAndAll leading_autograd(
    const Tensor& A,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    c10::SymInt count,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  return autograd::from_list<LeadingAndAll>(autograd::differentiable<LeadingSingularTriples>(
      {A, U, singular_values, Vh},
      {{Rule::parse(rule, parameters), std::string(caller)}, std::move(count)}));
}

} // namespace

SingularTriples singular_triples(const char* function, const Tensor& A, Name driver) {
  return triples_op.call(A, driver, function);
}

SingularTriples leading_singular_triples(
    const char* function,
    const Tensor& A,
    const SingularTriples& triples,
    const c10::SymInt& count,
    const Rule& rule) {
  const auto& [U, singular_values, Vh] = triples;
  auto outputs = leading_op.call(A, U, singular_values, Vh, count, rule.name(), rule.parameters(), function);
  return {std::move(std::get<0>(outputs)), std::move(std::get<1>(outputs)), std::move(std::get<2>(outputs))};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("singular_triples(Tensor A, str? driver, str function) -> (Tensor U, Tensor S, Tensor Vh)");
  library.def(
      "leading_singular_triples(Tensor A, Tensor U, Tensor S, Tensor Vh, SymInt count, str rule, float[] parameters, "
      "str caller) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("singular_triples", triples_kernel);
  library.impl("leading_singular_triples", leading_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("singular_triples", triples_meta);
  library.impl("leading_singular_triples", leading_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("singular_triples", triples_op.constant_kernel());
  library.impl("leading_singular_triples", leading_autograd);
}

} // namespace spectralgrad::ops
