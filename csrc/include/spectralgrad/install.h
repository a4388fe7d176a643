#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <optional>

namespace spectralgrad {

/// Replaces the derivatives of `aten::_linalg_eigh` in the whole process. `torch.linalg.eigh` and `eigvalsh`, called
/// from Python, C++, TorchScript or other torch functions, then differentiate by `rule`, or by the default rule at the
/// time of their call if none is given. Without derivatives torch computes the values. With derivatives they are equal
/// to the bit, unless `Rule::split` moves eigenvalues. Installing again replaces the rule.
///
/// ```
/// spectralgrad::install();
/// auto B = torch::eye(3, torch::kFloat64).requires_grad_();
/// auto [eigenvalues, eigenvectors] = torch::linalg_eigh(B);
/// (eigenvalues.sum() + eigenvectors.square().sum()).backward(); // B.grad() is the identity; torch's is NaN
/// spectralgrad::uninstall();
/// ```
SPECTRALGRAD_API void install(const std::optional<Rule>& rule = std::nullopt);

/// Restores torch's own derivatives, to the bit. Does nothing if none are installed. Only the first `install` of a
/// process changes the dispatcher's table. After it, `install` and `uninstall` may be called while other threads
/// decompose matrices.
SPECTRALGRAD_API void uninstall();

/// Whether the derivatives of this library are installed.
SPECTRALGRAD_API bool installed();

} // namespace spectralgrad
