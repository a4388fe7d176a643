#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <optional>

namespace spectralgrad {

/// Replaces the derivatives of `aten::linalg_eig`, `aten::_linalg_eigh` and `aten::_linalg_svd` in the whole process.
/// `torch.linalg.eig`, `eigvals`, `eigh`, `eigvalsh`, `svd` and `svdvals`, called from Python, C++, TorchScript or
/// other torch functions, such as norms, then differentiate by `rule`, or by the default rule at the time of their
/// call. Values without derivatives are torch's own, and values with derivatives are equal to the bit, unless
/// `Rule::split` moves them apart. Installing again replaces the rule.
///
/// ```
/// spectralgrad::install();
/// auto B = torch::eye(3, torch::kFloat64).requires_grad_();
/// auto [eigenvalues, eigenvectors] = torch::linalg_eigh(B);
/// (eigenvalues.sum() + eigenvectors.square().sum()).backward(); // B.grad() is the identity; torch's is NaN
/// spectralgrad::uninstall();
/// ```
SPECTRALGRAD_API void install(const std::optional<Rule>& rule = std::nullopt);

/// Restores torch's own derivatives, to the bit. Does nothing if none are installed. Only the first `install` or
/// `prepare_standing_in` of a process changes the dispatcher's table. After it, both may be called while other threads
/// decompose matrices, and so may `uninstall`.
SPECTRALGRAD_API void uninstall();

/// Registers the kernels of `install` without using them: they use this library's derivatives only where
/// `ContextDefaults::stand_in` (csrc/core/context_defaults.h) says so, as Python's `stand_in` does.
SPECTRALGRAD_API void prepare_standing_in();

/// Whether the derivatives of this library are installed.
SPECTRALGRAD_API bool installed();

} // namespace spectralgrad
