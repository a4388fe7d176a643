#pragma once

#include <spectralgrad/checks.h>
#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <optional>

namespace spectralgrad {

/// Looks up the caller's settings in a host language, such as Python's context variables. Guards of the thread take
/// precedence over them, and they take precedence over the defaults of the process. No value means that the host
/// language sets none.
struct ContextDefaults {
  std::optional<Rule> (*rule)();
  std::optional<Checks> (*checks)();
  /// The rule of the innermost block in which this library stands in for torch, empty for the current one.
  std::optional<std::optional<Rule>> (*stand_in)();
};

/// Sets the lookups of the process; null for none. They must outlive every operation.
SPECTRALGRAD_API void set_context_defaults(const ContextDefaults* defaults);

/// The lookups of the process; null if none are set.
const ContextDefaults* context_defaults();

} // namespace spectralgrad
