#include <spectralgrad/checks.h>

#include "core/context_defaults.h"
#include "core/scoped_default.h"

#include <atomic>

namespace spectralgrad {
namespace {

ScopedDefault<Checks>& levels() {
  static ScopedDefault<Checks> levels(Checks::warn);
  return levels;
}

std::atomic<const GaugeReporter*>& current_reporter() {
  static std::atomic<const GaugeReporter*> reporter{nullptr};
  return reporter;
}

} // namespace

Checks checks() {
  return levels().get([] {
    const auto* context = context_defaults();
    return context == nullptr ? std::nullopt : context->checks();
  });
}

void set_checks(Checks level) {
  levels().set(level);
}

std::optional<Checks> exchange_thread_checks(std::optional<Checks> level) {
  return ScopedDefault<Checks>::exchange(level);
}

ChecksGuard::ChecksGuard(std::optional<Checks> level) : outer_(exchange_thread_checks(level)) {}

ChecksGuard::~ChecksGuard() {
  exchange_thread_checks(outer_);
}

void GaugeReporter::warn(const std::string& message) const {
  TORCH_WARN(message);
}

void GaugeReporter::raise(const std::string& message) const {
  throw GaugeError({__func__, __FILE__, static_cast<uint32_t>(__LINE__)}, message);
}

void set_gauge_reporter(const GaugeReporter* reporter) {
  current_reporter() = reporter;
}

const GaugeReporter& gauge_reporter() {
  static const GaugeReporter standard;
  const GaugeReporter* reporter = current_reporter();
  return reporter == nullptr ? standard : *reporter;
}

} // namespace spectralgrad
