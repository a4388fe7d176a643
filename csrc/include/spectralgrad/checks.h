#pragma once

#include <spectralgrad/export.h>

#include <c10/util/Exception.h>

#include <optional>
#include <string>

namespace spectralgrad {

/// How the library treats non-finite input and losses that have no gradient.
///
/// - `ignore`: checks neither. The results for a matrix with a NaN or an Inf are NaN.
/// - `warn`, the default: a matrix with a NaN or an Inf raises `c10::LinAlgError`, and a complex loss that depends on
///   the phases of the eigenvectors raises `GaugeError`; torch.linalg raises in both cases, too. The library warns if a
///   loss depends on the basis inside an eigenspace of degenerate eigenvalues, or if part of its gradient is lost
///   there.
/// - `raise`: raises `GaugeError` instead of warning.
enum class Checks { ignore, warn, raise };

/// The current level: that of the innermost `ChecksGuard` of this thread, else the process-wide one.
SPECTRALGRAD_API Checks checks();
SPECTRALGRAD_API void set_checks(Checks level);

/// Sets the level of this thread, or clears it if `level` is empty. Returns the previous one.
SPECTRALGRAD_API std::optional<Checks> exchange_thread_checks(std::optional<Checks> level);

/// Sets the level of this thread while it lives. Autograd runs the backward of CUDA tensors in its own threads, where
/// only the level from `set_checks` applies.
///
/// ```
/// auto B = torch::full({2, 2}, NAN, torch::kFloat64);
/// const spectralgrad::ChecksGuard guard(spectralgrad::Checks::ignore);
/// auto [eigenvalues, eigenvectors] = spectralgrad::eigh(B); // NaN; without the guard it raises c10::LinAlgError
/// ```
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

/// Raised if the loss depends on a choice that the decomposition leaves open (a phase, or the basis inside an
/// eigenspace), so that it has no gradient. In Python: `spectralgrad.GaugeError`, a RuntimeError.
class SPECTRALGRAD_API GaugeError : public c10::Error {
  using Error::Error;
};

/// Reports warnings and errors about gauge dependence to the user. The default uses `TORCH_WARN` and `GaugeError`. The
/// Python bindings install a reporter that uses Python's warning and exception classes.
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

/// Replaces the reporter of the process. It must live until it is replaced and no operation uses it. `nullptr` restores
/// the default.
SPECTRALGRAD_API void set_gauge_reporter(const GaugeReporter* reporter);
SPECTRALGRAD_API const GaugeReporter& gauge_reporter();

} // namespace spectralgrad
