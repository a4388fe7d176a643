#pragma once

#include <spectralgrad/checks.h>
#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <optional>

namespace spectralgrad {

/// Looks up what a host language has in force for the caller, such as Python's context variables. A lookup comes after this
/// thread's guards and before the process's defaults. No value means that the host language has nothing to say.
struct ContextDefaults {
  std::optional<Rule> (*rule)();
  std::optional<Checks> (*checks)();
};

/// Sets the lookups of the process; they must outlive every operation.
SPECTRALGRAD_API void set_context_defaults(const ContextDefaults* defaults);

/// The lookups of the process; null where none are set.
const ContextDefaults* context_defaults();

} // namespace spectralgrad
