#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <optional>

namespace spectralgrad {

/// Puts this library's derivatives under `aten::_linalg_eigh` for the whole process: `torch.linalg.eigh` and `eigvalsh`,
/// called from Python, C++, TorchScript or other torch functions, then differentiate by `rule` (by the default rule in
/// force when called, if none is given). Values without derivatives stay torch's own. Installing again replaces the rule.
SPECTRALGRAD_API void install(const std::optional<Rule>& rule = std::nullopt);

/// Gives torch its own derivatives back, to the bit. Harmless where nothing is installed. Only the very first `install` of a
/// process changes the dispatcher's table; afterwards both may be called while other threads decompose matrices.
SPECTRALGRAD_API void uninstall();

SPECTRALGRAD_API bool installed();

} // namespace spectralgrad
