#pragma once

#include "autograd/no_autocast.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

// Makes a differentiable operator from three pure functions: forward, vjp and jvp.
//
// An operation is a type
//     struct Op {
//       static constexpr const char* name;                        // the name of its autograd node
//       static constexpr bool saves_inputs, saves_outputs;        // what `Saved` contains
//       struct Options {                                          // all arguments that are not differentiable tensors
//         void save(Dictionary&) const;
//         static Options load(const Dictionary&);
//       };
//       static variable_list forward(const variable_list& inputs, const Options&);
//       static variable_list vjp(const variable_list& cotangents, const Saved&, const Options&);
//       static variable_list jvp(const variable_list& tangents, const Saved&, const Options&);
//     };
// `forward` runs below autograd. `vjp` and `jvp` are differentiable tensor code. Undefined tensors mean zero, in their
// arguments and in their results.
//
// Ordinary reverse mode uses a `torch::autograd::Function`. That class does not support torch.func transforms and
// forward-mode tangents. For these, this file builds the autograd node itself, in the same steps as PyTorch's generated
// kernels. All code that depends on how a PyTorch version implements nodes is in this file.
namespace spectralgrad::autograd {

using at::Tensor;
using torch::autograd::variable_list;
using Dictionary = ska::flat_hash_map<std::string, at::IValue>;

/// The inputs and outputs that the derivatives of an operation read. A list is empty unless the operation saves it.
struct Saved {
  variable_list inputs;
  variable_list outputs;
  /// For `vjp`: for each input, whether its cotangent is needed. Other cotangents may be left undefined.
  std::vector<bool> needed;
};

/// For operations without options.
struct NoOptions {
  void save(Dictionary&) const {}
  static NoOptions load(const Dictionary&) {
    return {};
  }
};

/// Calls `f` below the autograd dispatch keys.
template <typename F>
auto below_autograd(F&& f) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  return std::forward<F>(f)();
}

/// Whether a torch.func transform is running. Transforms include this key in the dispatch keys of the thread.
inline bool transform_is_active() {
  return c10::impl::tls_local_dispatch_key_set().included_.has(c10::DispatchKey::FuncTorchDynamicLayerBackMode);
}

inline bool has_tangent(const Tensor& x) {
  return torch::autograd::isFwGradDefined(x);
}

inline bool has_tangent(const variable_list& list) {
  return std::any_of(list.begin(), list.end(), [](const Tensor& x) { return has_tangent(x); });
}

/// Whether operations on `x` are differentiated at the current level of torch.func's transforms. The dispatcher calls
/// kernels for each outer level, too.
inline bool is_differentiated_at_this_level(const Tensor& x) {
  return (at::GradMode::is_enabled() && x.requires_grad()) || has_tangent(x);
}

inline bool requires_grad(const variable_list& list) {
  return at::GradMode::is_enabled() && torch::autograd::any_variable_requires_grad(list);
}

/// The positions of the defined inputs of an operation, because a `Function` takes no undefined tensors.
struct Positions {
  std::vector<int64_t> defined;
  int64_t arity;

  explicit Positions(const variable_list& inputs) : arity(static_cast<int64_t>(inputs.size())) {
    for (int64_t i = 0; i < arity; ++i) {
      if (inputs[i].defined()) {
        defined.push_back(i);
      }
    }
  }

  Positions(std::vector<int64_t> defined, int64_t arity) : defined(std::move(defined)), arity(arity) {}

  /// The defined ones among all inputs.
  variable_list gather(const variable_list& all) const {
    variable_list result;
    for (const auto i : defined) {
      result.push_back(all[i]);
    }
    return result;
  }

  /// The reverse of `gather`: all inputs, with undefined tensors in the other positions.
  variable_list spread(at::TensorList present) const {
    variable_list result(arity);
    for (size_t i = 0; i < defined.size(); ++i) {
      result[defined[i]] = present[i];
    }
    return result;
  }
};

/// Reverse mode without transforms and tangents.
template <typename Op>
class OrdinaryFunction : public torch::autograd::Function<OrdinaryFunction<Op>> {
 public:
  // All saved values are in the context, so compiled autograd may trace the backward.
  static constexpr bool is_traceable = true;

  static variable_list forward(
      torch::autograd::AutogradContext* context,
      at::TensorList inputs,
      const Positions& positions,
      const typename Op::Options& options) {
    auto outputs = below_autograd([&] { return Op::forward(positions.spread(inputs), options); });
    context->set_materialize_grads(false);
    options.save(context->saved_data);
    variable_list saved;
    if constexpr (Op::saves_inputs) {
      saved = inputs.vec();
    }
    if constexpr (Op::saves_outputs) {
      saved.insert(saved.end(), outputs.begin(), outputs.end());
    }
    context->saved_data["positions"] = positions.defined;
    context->saved_data["arity"] = positions.arity;
    context->save_for_backward(std::move(saved));
    return outputs;
  }

  static variable_list backward(torch::autograd::AutogradContext* context, const variable_list& cotangents) {
    const NoAutocast no_autocast;
    const auto tensors = context->get_saved_variables();
    const Positions positions{
        context->saved_data.at("positions").toIntVector(),
        context->saved_data.at("arity").toInt()};
    const auto count = positions.defined.size();
    const auto split = tensors.begin() + static_cast<int64_t>(Op::saves_inputs ? count : 0);
    Saved saved{{}, {split, tensors.end()}, std::vector<bool>(positions.arity)};
    if constexpr (Op::saves_inputs) {
      saved.inputs = positions.spread(at::TensorList(tensors).slice(0, count));
    }
    for (size_t i = 0; i < count; ++i) {
      saved.needed[positions.defined[i]] = context->needs_input_grad(i);
    }
    auto result = positions.gather(Op::vjp(cotangents, saved, Op::Options::load(context->saved_data)));
    result.resize(count + 2); // the arguments `positions` and `options` have no gradient
    return result;
  }
};

/// The autograd node for torch.func transforms and tangents, in place of a `Function`.
template <typename Op>
struct RecordedNode : public torch::autograd::Node {
  explicit RecordedNode(typename Op::Options options) : options_(std::move(options)) {}

  void save(const variable_list& inputs, const variable_list& outputs) {
    const auto append = [this](const variable_list& list, bool is_output) {
      for (const auto& x : list) {
        saved_.emplace_back(x, is_output);
      }
    };
    if constexpr (Op::saves_inputs) {
      append(inputs, false);
      input_count_ = inputs.size();
    }
    if constexpr (Op::saves_outputs) {
      append(outputs, true);
    }
  }

  variable_list apply(variable_list&& cotangents) override {
    const NoAutocast no_autocast;
    const std::lock_guard<std::mutex> lock(mutex_);
    Saved saved;
    for (size_t i = 0; i < saved_.size(); ++i) {
      auto& list = i < input_count_ ? saved.inputs : saved.outputs;
      list.push_back(saved_[i].unpack(i < input_count_ ? nullptr : getptr()));
    }
    for (size_t i = 0; i < num_outputs(); ++i) {
      saved.needed.push_back(task_should_compute_output(i));
    }
    return Op::vjp(cotangents, saved, options_);
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& x : saved_) {
      x.reset_data();
    }
  }

  std::string name() const override {
    return std::string(Op::name) + "Backward";
  }

 private:
  typename Op::Options options_;
  std::vector<torch::autograd::SavedVariable> saved_;
  size_t input_count_ = 0;
};

/// Forward mode: sets the tangents of `outputs` from those of `inputs`.
template <typename Op>
void set_tangents(const variable_list& outputs, const variable_list& inputs, const typename Op::Options& options) {
  variable_list tangents;
  Saved primals;
  for (const auto& x : inputs) {
    tangents.push_back(x.defined() ? x._fw_grad(/*level=*/0) : Tensor());
    if (Op::saves_inputs) {
      primals.inputs.push_back(x.defined() ? x._fw_primal(/*level=*/0) : Tensor());
    }
  }
  if (Op::saves_outputs) {
    primals.outputs = outputs;
  }
  const auto output_tangents = Op::jvp(tangents, primals, options);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (output_tangents[i].defined() && outputs[i].defined()) {
      outputs[i]._set_fw_grad(output_tangents[i], /*level=*/0, /*is_inplace_op=*/false);
    }
  }
}

/// Runs the operation and records it for reverse and forward mode.
template <typename Op>
variable_list record(const variable_list& inputs, const typename Op::Options& options) {
  c10::intrusive_ptr<RecordedNode<Op>> node;
  if (requires_grad(inputs)) {
    node = c10::make_intrusive<RecordedNode<Op>>(options);
    node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  }
  auto outputs = below_autograd([&] { return Op::forward(inputs, options); });
  if (node) {
    torch::autograd::set_history(outputs, node);
  }
  if (has_tangent(inputs)) {
    set_tangents<Op>(outputs, inputs, options);
  }
  // Saves last: outputs that are saved before their tangents are set make forward-over-reverse wrong.
  if (node) {
    node->save(inputs, outputs);
  }
  return outputs;
}

/// The kernel of an operation for the Autograd dispatch key.
template <typename Op>
variable_list differentiable(const variable_list& inputs, const typename Op::Options& options) {
  const NoAutocast no_autocast;
  if (transform_is_active() || has_tangent(inputs)) {
    return record<Op>(inputs, options);
  }
  if (requires_grad(inputs)) {
    const Positions positions(inputs);
    const auto present = positions.gather(inputs);
    return OrdinaryFunction<Op>::apply(at::TensorList(present), positions, options);
  }
  return below_autograd([&] { return Op::forward(inputs, options); });
}

} // namespace spectralgrad::autograd
