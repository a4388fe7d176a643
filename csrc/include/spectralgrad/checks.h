#pragma once

#include <spectralgrad/export.h>

#include <c10/util/Exception.h>

#include <optional>
#include <string>

namespace spectralgrad {

/// What is done about input that has no decomposition and about losses that have no gradient.
///
/// - `ignore`: nothing is looked at. A matrix with a NaN or an Inf gives NaN for itself, without a word.
/// - `warn`, the default: such a matrix raises `c10::LinAlgError`; a complex loss that depends on the phases of the
///   eigenvectors raises `GaugeError`, both as in torch.linalg; a loss that depends on the basis inside an eigenspace, or
///   whose gradient is lost there, warns.
/// - `raise`: what warns raises `GaugeError` too.
enum class Checks { ignore, warn, raise };

/// The level in force: that of the innermost `ChecksGuard` of this thread, else the process-wide one.
SPECTRALGRAD_API Checks checks();
SPECTRALGRAD_API void set_checks(Checks level);

/// Sets this thread's level, or with nothing clears it, and returns the one before.
SPECTRALGRAD_API std::optional<Checks> exchange_thread_checks(std::optional<Checks> level);

/// Sets the level of this thread while it lives. Autograd runs the backward of CUDA tensors in threads of its own:
/// there only `set_checks` is seen.
class SPECTRALGRAD_API ChecksGuard {
 public:
  explicit ChecksGuard(std::optional<Checks> level);
  ~ChecksGuard();
  ChecksGuard(const ChecksGuard&) = delete;
  ChecksGuard& operator=(const ChecksGuard&) = delete;
  ChecksGuard(ChecksGuard&&) = delete;
  ChecksGuard& operator=(ChecksGuard&&) = delete;

 private:
  std::optional<Checks> outer_;
};

/// The loss depends on a choice that the decomposition leaves open (a phase, a basis inside an eigenspace), so that it
/// has no gradient. In Python `spectralgrad.GaugeError`, a RuntimeError.
class SPECTRALGRAD_API GaugeError : public c10::Error {
  using Error::Error;
};

/// How warnings and errors about gauge dependence leave the library. C++ gets `TORCH_WARN` and `GaugeError`; the Python
/// bindings put their own exception and warning classes in place.
struct SPECTRALGRAD_API GaugeReporter {
  GaugeReporter() = default;
  virtual ~GaugeReporter() = default;
  GaugeReporter(const GaugeReporter&) = default;
  GaugeReporter& operator=(const GaugeReporter&) = default;
  GaugeReporter(GaugeReporter&&) = default;
  GaugeReporter& operator=(GaugeReporter&&) = default;

  virtual void warn(const std::string& message) const;
  [[noreturn]] virtual void raise(const std::string& message) const;
};

/// Replaces the reporter of the process; it must outlive every operation. `nullptr` restores the default one.
SPECTRALGRAD_API void set_gauge_reporter(const GaugeReporter* reporter);
SPECTRALGRAD_API const GaugeReporter& gauge_reporter();

} // namespace spectralgrad
