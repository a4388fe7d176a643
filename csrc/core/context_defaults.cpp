#include "core/context_defaults.h"

#include <atomic>

namespace spectralgrad {
namespace {

std::atomic<const ContextDefaults*>& current_context_defaults() {
  static std::atomic<const ContextDefaults*> current{nullptr};
  return current;
}

} // namespace

void set_context_defaults(const ContextDefaults* defaults) {
  current_context_defaults() = defaults;
}

const ContextDefaults* context_defaults() {
  return current_context_defaults();
}

} // namespace spectralgrad
