#include <spectralgrad/install.h>

#include "autograd/eigh.h"

#include <ATen/ops/_linalg_eigh.h>
#include <torch/library.h>

#include <memory>
#include <mutex>

namespace spectralgrad {
namespace {

using at::Tensor;

struct Installation {
  std::mutex mutex;
  std::optional<Rule> rule;
  std::vector<std::unique_ptr<torch::Library>> libraries; // empty: not installed
};

// Never destroyed: the dispatcher that the libraries would be taken out of may be gone before it at exit.
Installation& installation() {
  static auto* current = new Installation;
  return *current;
}

Rule installed_rule() {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  return current.rule ? *current.rule : default_rule();
}

std::tuple<Tensor, Tensor> linalg_eigh_autograd(const Tensor& A, std::string_view UPLO, bool compute_eigenvectors) {
  if (!autograd::requires_grad({A}) && !autograd::has_tangent(A)) {
    return autograd::below_autograd([&] { return at::_linalg_eigh(A, UPLO, compute_eigenvectors); });
  }
  auto outputs = autograd::differentiable<autograd::Eigh>({A}, {std::string(UPLO), installed_rule()});
  return {std::move(outputs[0]), std::move(outputs[1])};
}

// torch registers its kernel under the alias Autograd; one under a backend's own key goes before it, and taking that away
// again leaves torch's untouched.
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
  if (!current.libraries.empty()) {
    return;
  }
  for (const auto key : keys) {
    auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
    library->impl("_linalg_eigh", linalg_eigh_autograd);
    current.libraries.push_back(std::move(library));
  }
}

void uninstall() {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  current.libraries.clear();
}

bool installed() {
  auto& current = installation();
  const std::lock_guard<std::mutex> lock(current.mutex);
  return !current.libraries.empty();
}

} // namespace spectralgrad
