#pragma once

#include <spectralgrad/export.h>

#include <string>
#include <string_view>

namespace spectralgrad {

/// The name of the public function that the user called. Messages name it, although an internal function makes them:
/// `eigvalsh` is differentiated by `eigh`, and must speak of itself. It is `operation` unless a `CallerNameGuard` of
/// this thread says otherwise. Operators keep it as an argument, so that derivatives and compiled graphs know it, too.
std::string caller_name(std::string_view operation = "eigh");

/// Sets `caller_name()` of this thread to `function` for as long as it lives. "" stands for no name.
class SPECTRALGRAD_API CallerNameGuard {
 public:
  explicit CallerNameGuard(std::string_view function);
  ~CallerNameGuard();
  CallerNameGuard(const CallerNameGuard&) = delete;
  CallerNameGuard& operator=(const CallerNameGuard&) = delete;
  CallerNameGuard(CallerNameGuard&&) = delete;
  CallerNameGuard& operator=(CallerNameGuard&&) = delete;

 private:
  std::string outer_;
};

} // namespace spectralgrad
