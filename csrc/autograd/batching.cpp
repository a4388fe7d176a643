#include "autograd/batching.h"

#include <ATen/core/stack.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/ops/movedim.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

// Every operator takes batches, so a mapped dimension becomes a leading one. In C++, because a rule in Python takes
// longer than the kernels of small matrices.
namespace spectralgrad::autograd {
namespace {

/// The innermost level of vmap that a tensor among these is mapped at, or -1.
int64_t innermost_level(c10::ArrayRef<c10::IValue> arguments) {
  int64_t level = -1;
  for (const auto& argument : arguments) {
    if (argument.isTensor()) {
      const auto* mapped = at::functorch::maybeGetBatchedImpl(argument.toTensor());
      level = mapped == nullptr ? level : std::max(level, mapped->level());
    }
  }
  return level;
}

/// Brings the mapped dimension of all tensors among `arguments` to the front. Those that are not mapped at this level
/// are repeated along it.
void unwrap(std::vector<c10::IValue>& arguments, int64_t level) {
  std::optional<c10::SymInt> size;
  std::vector<c10::IValue*> unmapped;
  for (auto& argument : arguments) {
    if (!argument.isTensor() || !argument.toTensor().defined()) {
      continue;
    }
    const auto x = argument.toTensor();
    const auto* mapped = at::functorch::maybeGetBatchedImpl(x);
    if (mapped != nullptr && mapped->level() == level) {
      auto plain = at::movedim(mapped->value(), mapped->bdim(), 0);
      size = plain.sym_size(0);
      argument = std::move(plain);
    } else {
      unmapped.push_back(&argument);
    }
  }
  for (auto* argument : unmapped) {
    const auto x = argument->toTensor();
    auto shape = x.sym_sizes().vec();
    shape.insert(shape.begin(), *size);
    *argument = x.unsqueeze(0).expand_symint(shape);
  }
}

template <bool one_result>
void batched(const c10::OperatorHandle& op, c10::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::FuncTorchBatched);
  const auto count = op.schema().arguments().size();
  auto arguments = torch::jit::last(*stack, count).vec();
  const auto level = innermost_level(arguments);
  if (level == -1) {
    op.callBoxed(stack);
    return;
  }
  unwrap(arguments, level);
  torch::jit::drop(*stack, count);
  stack->insert(stack->end(), arguments.begin(), arguments.end());
  op.callBoxed(stack);
  if (!one_result) {
    const auto results = op.schema().returns().size();
    for (auto i = stack->size() - results; i < stack->size(); ++i) {
      (*stack)[i] = at::functorch::makeBatched((*stack)[i].toTensor(), 0, level);
    }
  }
}

} // namespace

void register_batching(const std::string& name, bool one_result) {
  static std::mutex mutex;
  // Never destroyed, because operators may be called until the process ends.
  static auto* const library =
      new torch::Library(torch::Library::IMPL, "spectralgrad", c10::DispatchKey::FuncTorchBatched, __FILE__, __LINE__);
  const std::lock_guard<std::mutex> lock(mutex);
  library->impl(
      name.c_str(),
      one_result ? torch::CppFunction::makeFromBoxedFunction<&batched<true>>()
                 : torch::CppFunction::makeFromBoxedFunction<&batched<false>>());
}

} // namespace spectralgrad::autograd
