#include <spectralgrad/install.h>

#include "autograd/differentiable_op.h"
#include "core/context_defaults.h"
#include "ops/eig.h"
#include "ops/eigh.h"
#include "ops/svd.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace spectralgrad {
namespace {

using at::Tensor;
using c10::DispatchKeySet;

struct Installation {
  std::atomic<bool> active{false};
  std::mutex mutex; // guards the members below
  std::optional<Rule> rule;
  // Never removed again, because the dispatcher's table must not change while another thread reads it. `standing_in`
  // decides for each call whether the registered kernels use this library's derivatives or torch's.
  std::vector<std::unique_ptr<torch::Library>> libraries;
};

// Never destroyed, because operators may be called while the process exits.
Installation& installation() {
  static auto* current = new Installation;
  return *current;
}

/// An operator of torch whose derivatives this library can replace.
class TorchOperator {
 public:
  explicit TorchOperator(const char* name)
      : operator_(c10::Dispatcher::singleton().findSchemaOrThrow(name, "")),
        kernel_(operator_.getComputedKernelForDispatchKey(c10::DispatchKey::AutogradCPU)) {}

  /// Calls torch's own kernel for the Autograd key.
  template <typename... Arguments>
  torch::jit::Stack call(DispatchKeySet keys, Arguments&&... arguments) const {
    torch::jit::Stack stack{std::forward<Arguments>(arguments)...};
    kernel_.callBoxed(operator_, keys, &stack);
    return stack;
  }

 private:
  c10::OperatorHandle operator_;
  c10::SafeKernelFunction kernel_;
};

// Created before kernels are registered, so that they have torch's kernels.
const TorchOperator& torch_eigh() {
  static const TorchOperator op("aten::_linalg_eigh");
  return op;
}

const TorchOperator& torch_eig() {
  static const TorchOperator op("aten::linalg_eig");
  return op;
}

const TorchOperator& torch_svd() {
  static const TorchOperator op("aten::_linalg_svd");
  return op;
}

/// The rule for a call in this context; no value if torch's derivatives are used.
std::optional<Rule> standing_in() {
  const auto* context = context_defaults();
  if (const auto block = context == nullptr ? std::nullopt : context->stand_in()) {
    return *block ? **block : default_rule();
  }
  auto& current = installation();
  if (!current.active) {
    return std::nullopt;
  }
  const auto rule = [&] {
    const std::lock_guard<std::mutex> lock(current.mutex);
    return current.rule;
  }();
  // Must run without the lock: `default_rule` may wait for Python's interpreter lock, and its holder may wait for our
  // lock in `install`.
  return rule ? *rule : default_rule();
}

/// The rule if the call is differentiated and this library stands in for torch.
std::optional<Rule> differentiated_rule(const Tensor& A) {
  return autograd::requires_grad({A}) || autograd::has_tangent(A) ? standing_in() : std::nullopt;
}

// The method "torch" gives values bitwise equal to those without derivatives. Otherwise the signs of eigenvectors would
// depend on requires_grad.
constexpr const char* same_values = "torch";

std::tuple<Tensor, Tensor> linalg_eigh_autograd(
    DispatchKeySet keys,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  if (const auto rule = differentiated_rule(A)) {
    return ops::differentiable_eigh(A, UPLO, *rule, same_values, !compute_eigenvectors);
  }
  const auto stack = torch_eigh().call(keys, A, std::string(UPLO), compute_eigenvectors);
  return {stack[0].toTensor(), stack[1].toTensor()};
}

// torch.linalg.eigvals calls this operator if it is differentiated.
std::tuple<Tensor, Tensor> linalg_eig_autograd(DispatchKeySet keys, const Tensor& A) {
  if (const auto rule = differentiated_rule(A)) {
    return ops::differentiable_eig(A, *rule, same_values);
  }
  const auto stack = torch_eig().call(keys, A);
  return {stack[0].toTensor(), stack[1].toTensor()};
}

std::tuple<Tensor, Tensor, Tensor> linalg_svd_autograd(
    DispatchKeySet keys,
    const Tensor& A,
    bool full_matrices,
    bool compute_uv,
    std::optional<std::string_view> driver) {
  // Without vectors there are no derivatives: torch asks for none if A is differentiated.
  if (const auto rule = compute_uv ? differentiated_rule(A) : std::nullopt) {
    return ops::differentiable_svd(A, full_matrices, driver, *rule, same_values);
  }
  const auto name = driver ? c10::IValue(std::string(*driver)) : c10::IValue();
  const auto stack = torch_svd().call(keys, A, full_matrices, compute_uv, name);
  return {stack[0].toTensor(), stack[1].toTensor(), stack[2].toTensor()};
}

// torch registers its kernel for the alias key Autograd. Kernels for the autograd key of a backend take precedence over
// it.
constexpr c10::DispatchKey keys[] = {
    c10::DispatchKey::AutogradCPU,
    c10::DispatchKey::AutogradCUDA,
    c10::DispatchKey::AutogradMPS,
    c10::DispatchKey::AutogradXPU,
    c10::DispatchKey::AutogradMeta,
    c10::DispatchKey::AutogradPrivateUse1,
    c10::DispatchKey::AutogradOther,
};

/// Registers the kernels unless they are registered. The caller holds the lock.
void register_kernels(Installation& current) {
  if (!current.libraries.empty()) {
    return;
  }
  torch_eig();
  torch_eigh();
  torch_svd();
  for (const auto key : keys) {
    auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
    library->impl("linalg_eig", linalg_eig_autograd);
    library->impl("_linalg_eigh", linalg_eigh_autograd);
    library->impl("_linalg_svd", linalg_svd_autograd);
    current.libraries.push_back(std::move(library));
  }
}

} // namespace

void prepare_standing_in() {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  register_kernels(current);
}

void install(const std::optional<Rule>& rule) {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  current.rule = rule;
  register_kernels(current);
  current.active = true;
}

void uninstall() {
  installation().active = false;
}

bool installed() {
  return installation().active;
}

} // namespace spectralgrad
