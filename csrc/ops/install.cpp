#include <spectralgrad/install.h>

#include "autograd/differentiable_op.h"
#include "ops/eigh.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace spectralgrad {
namespace {

using at::Tensor;

const c10::OperatorHandle& torch_op() {
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("aten::_linalg_eigh", "");
  return op;
}

struct Installation {
  std::atomic<bool> active{false};
  std::mutex mutex; // guards the members below
  std::optional<Rule> rule;
  // Never removed again, because the dispatcher's table must not change while another thread reads it. `active` decides
  // whether the registered kernels use this library's derivatives or torch's.
  std::vector<std::unique_ptr<torch::Library>> libraries;
  std::optional<c10::SafeKernelFunction> torch_kernel;
};

// Never destroyed, because operators may be called while the process exits.
Installation& installation() {
  static auto* current = new Installation;
  return *current;
}

Rule installed_rule() {
  const auto rule = [] {
    auto& current = installation();
    const std::lock_guard<std::mutex> lock(current.mutex);
    return current.rule;
  }();
  // Must run without the lock: `default_rule` may wait for Python's interpreter lock, and its holder may wait for our
  // lock in `install`.
  return rule ? *rule : default_rule();
}

std::tuple<Tensor, Tensor> torch_eigh(
    c10::DispatchKeySet keys,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  torch::jit::Stack stack{A, std::string(UPLO), compute_eigenvectors};
  installation().torch_kernel->callBoxed(torch_op(), keys, &stack);
  return {stack[0].toTensor(), stack[1].toTensor()};
}

std::tuple<Tensor, Tensor> linalg_eigh_autograd(
    c10::DispatchKeySet keys,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  if (!installation().active || (!autograd::requires_grad({A}) && !autograd::has_tangent(A))) {
    return torch_eigh(keys, A, UPLO, compute_eigenvectors);
  }
  // "torch" gives values bitwise equal to those without derivatives. Otherwise the signs of eigenvectors would depend
  // on requires_grad.
  return ops::differentiable_eigh(A, UPLO, installed_rule(), "torch");
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

} // namespace

void install(const std::optional<Rule>& rule) {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  current.rule = rule;
  if (current.libraries.empty()) {
    current.torch_kernel = torch_op().getComputedKernelForDispatchKey(c10::DispatchKey::AutogradCPU);
    for (const auto key : keys) {
      auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
      library->impl("_linalg_eigh", linalg_eigh_autograd);
      current.libraries.push_back(std::move(library));
    }
  }
  current.active = true;
}

void uninstall() {
  installation().active = false;
}

bool installed() {
  return installation().active;
}

} // namespace spectralgrad
