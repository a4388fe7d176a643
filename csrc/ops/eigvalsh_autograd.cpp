#include "autograd/differentiable_op.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "ops/arguments.h"

#include <spectralgrad/eigh.h>
#include <spectralgrad/eigvalsh.h>

#include <torch/library.h>

namespace spectralgrad::autograd {
namespace {

// The derivative needs the eigenvectors. So if A is differentiated, this is the first result of `eigh`.
Tensor eigvalsh_autograd(const Tensor& A, std::string_view UPLO, ops::RuleName rule, ops::RuleParameters parameters) {
  const CallerState caller;
  const auto resolved = ops::resolve_rule(rule, parameters);
  if (requires_grad({A}) || has_tangent(A)) {
    ops::check_hermitian_arguments("eigvalsh", A, UPLO);
    const CallerNameGuard guard("eigvalsh");
    return std::get<0>(spectralgrad::eigh(A, UPLO, resolved));
  }
  return below_autograd([&] { return spectralgrad::eigvalsh(A, UPLO, resolved); });
}

} // namespace

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigvalsh", eigvalsh_autograd);
}

} // namespace spectralgrad::autograd
