#include "autograd/second_order.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/decomposition_words.h"
#include "core/optional_tensor.h"
#include "core/report.h"
#include "core/tolerances.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/triu_indices.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <string>
#include <string_view>
#include <utility>

namespace spectralgrad {
namespace {

using at::Tensor;
using autograd::Saved;
using autograd::variable_list;

/// The last backward pass of this thread that reported a second derivative; PyTorch numbers the passes from 0.
thread_local int reported_pass = -1;

/// The backward pass that a `NestedPass` of this thread keeps, or -1.
thread_local int enclosing_pass = -1;

int current_pass() {
  return enclosing_pass == -1 ? torch::autograd::get_current_graph_task_id() : enclosing_pass;
}

/// The name of the function that the user called, kept from the forward call for the messages of its derivatives.
struct CallerOptions {
  std::string caller;
  void save(autograd::Dictionary& dictionary) const {
    dictionary["caller"] = caller;
  }
  static CallerOptions load(const autograd::Dictionary& dictionary) {
    return {dictionary.at("caller").toStringRef()};
  }
};

std::tuple<Tensor, Tensor> watch_kernel(
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view,
    const OptionalTensor&) {
  return {eigenvalues.clone(), eigenvectors.clone()};
}

/// The gaps (*, m) of which the smallest one matters: between neighbours of ascending real values, or between all pairs
/// of complex ones, as absolute values.
Tensor gaps_of(const Tensor& eigenvalues) {
  const auto n = eigenvalues.size(-1);
  if (!eigenvalues.is_complex()) {
    return eigenvalues.slice(-1, 1) - eigenvalues.slice(-1, 0, n - 1);
  }
  const auto pairs = at::triu_indices(n, n, 1, eigenvalues.options().dtype(at::kLong));
  return (eigenvalues.index_select(-1, pairs[0]) - eigenvalues.index_select(-1, pairs[1])).abs();
}

Tensor warn_kernel(
    const Tensor& x,
    const Tensor& eigenvalues,
    std::string_view caller,
    const OptionalTensor& amplification) {
  const auto n = eigenvalues.size(-1);
  if (checks() == Checks::ignore || n < 2 || eigenvalues.numel() == 0) {
    return x.clone();
  }
  const auto gaps = gaps_of(eigenvalues);
  const auto dtype = eigenvalues.scalar_type();
  auto rounding = tolerances::close_gap * tolerances::eps(dtype) * eigenvalues.abs().amax(-1, /*keepdim=*/true);
  if (amplification) {
    const auto most = tolerances::largest_close_gap(dtype) / (tolerances::close_gap * tolerances::eps(dtype));
    rounding = rounding * amplification->clamp_max(most).unsqueeze(-1);
  }
  const auto close = (gaps <= rounding).any(-1).reshape({-1}).nonzero();
  if (close.numel() > 0) {
    const auto& words = decomposition_words(caller);
    const auto message = c10::str(
        "spectralgrad.",
        caller,
        ": A second derivative is taken through ",
        words.a_degenerate_value,
        " (of matrix ",
        close[0].item<int64_t>(),
        " of the batch), where part of it is lost, whatever the loss. ",
        words.second_order_alternatives,
        words.split_moves_values ? "; rule=spectralgrad.Split(order=2) recovers most of it." : ".");
    warn_or_raise(message);
    reported_pass = current_pass();
  }
  return x.clone();
}

std::tuple<Tensor, Tensor> watch_meta(
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view,
    const OptionalTensor&) {
  return {at::empty_like(eigenvalues), at::empty_like(eigenvectors)};
}

constexpr autograd::OperatorHandle<"spectralgrad::watch_second_order", watch_meta> watch_op;

Tensor warn_meta(const Tensor& x, const Tensor&, std::string_view, const OptionalTensor&) {
  return at::empty_like(x);
}

constexpr autograd::OperatorHandle<"spectralgrad::warn_of_second_order", warn_meta> warn_op;

/// Returns (eigenvalues, eigenvectors) unchanged. Its derivatives warn. The third input is the amplification.
struct WatchSecondOrder {
  static constexpr const char* name = "WatchSecondOrder";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  using Options = CallerOptions;

  static variable_list forward(const variable_list& inputs, const Options& options) {
    auto [eigenvalues, eigenvectors] = watch_op.call(inputs[0], inputs[1], options.caller, optional(inputs[2]));
    return {std::move(eigenvalues), std::move(eigenvectors)};
  }

  /// Adds the warning to one of the two derivatives only, so that it is given once.
  static variable_list through(variable_list parts, const Saved& saved, const Options& options) {
    auto& part = parts[1].defined() ? parts[1] : parts[0];
    if (part.defined()) {
      part = warn_op.call(part, saved.inputs[0], options.caller, optional(saved.inputs[2]));
    }
    parts.resize(3);
    parts[2] = Tensor();
    return parts;
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options) {
    return through(cotangents, saved, options);
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options) {
    return through(tangents, saved, options);
  }
};

/// Returns its first argument, and warns when it runs.
struct WarnOfSecondOrder {
  static constexpr const char* name = "WarnOfSecondOrder";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = false;
  using Options = CallerOptions;

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return {warn_op.call(inputs[0], inputs[1], options.caller, optional(inputs[2]))};
  }

  static variable_list vjp(const variable_list& cotangents, const Saved&, const Options&) {
    return {cotangents[0], Tensor(), Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const Saved&, const Options&) {
    return {tangents[0]};
  }
};

std::tuple<Tensor, Tensor> watch_autograd(
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    std::string_view caller,
    const OptionalTensor& amplification) {
  return autograd::from_list<std::tuple<Tensor, Tensor>>(autograd::differentiable<WatchSecondOrder>(
      {eigenvalues, eigenvectors, tensor_or_undefined(amplification)},
      {std::string(caller)}));
}

Tensor warn_autograd(
    const Tensor& x,
    const Tensor& eigenvalues,
    std::string_view caller,
    const OptionalTensor& amplification) {
  return autograd::differentiable<WarnOfSecondOrder>(
      {x, eigenvalues, tensor_or_undefined(amplification)},
      {std::string(caller)})[0];
}

} // namespace

namespace autograd {

NestedPass::NestedPass() : outer_(std::exchange(enclosing_pass, current_pass())) {}

NestedPass::~NestedPass() {
  enclosing_pass = outer_;
}

bool second_order_was_reported() {
  const auto pass = current_pass();
  return pass != -1 && pass == reported_pass;
}

Tensor warn_of_second_order(const Tensor& x, const Tensor& eigenvalues) {
  return warn_op.call(x, eigenvalues, caller_name(), std::nullopt);
}

std::pair<Tensor, Tensor> with_second_order_warning(
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& amplification) {
  if (!is_differentiated(eigenvalues) && !is_differentiated(eigenvectors)) {
    return {eigenvalues, eigenvectors};
  }
  auto [watched_eigenvalues, watched_eigenvectors] =
      watch_op.call(eigenvalues, eigenvectors, caller_name(), optional(amplification));
  return {std::move(watched_eigenvalues), std::move(watched_eigenvectors)};
}

} // namespace autograd

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "watch_second_order(Tensor eigenvalues, Tensor eigenvectors, str caller=\"eigh\", Tensor? amplification=None) "
      "-> (Tensor, Tensor)");
  library.def(
      "warn_of_second_order(Tensor x, Tensor eigenvalues, str caller=\"eigh\", Tensor? amplification=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("watch_second_order", watch_kernel);
  library.impl("warn_of_second_order", warn_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("watch_second_order", watch_meta);
  library.impl("warn_of_second_order", warn_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("watch_second_order", watch_autograd);
  library.impl("warn_of_second_order", warn_autograd);
}

} // namespace spectralgrad
