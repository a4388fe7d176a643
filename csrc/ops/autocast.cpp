#include "core/caller_state.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

// Runs the operators in float32 under autocast on every device, as torch does with torch.linalg.eigh.
namespace spectralgrad::ops {
namespace {

void in_float32(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const autograd::CallerState caller; // before autocast is switched off
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto count = op.schema().arguments().size();
  for (size_t i = stack->size() - count; i < stack->size(); ++i) {
    auto& argument = (*stack)[i];
    if (argument.isTensor() && argument.toTensor().defined()) {
      const auto& x = argument.toTensor();
      argument = at::autocast::cached_cast(at::kFloat, x, x.device().type());
    }
  }
  op.callBoxed(stack);
}

void register_autocast(torch::Library& library) {
  for (const auto* name :
       {"eig",
        "eigh",
        "eigh_subset",
        "eigvals",
        "eigvalsh",
        "generalized_eigh",
        "svd",
        "svd_truncated",
        "svdvals",
        "polar",
        "orthogonal_procrustes",
        "rigid_alignment",
        "expm",
        "logm",
        "sqrtm",
        "invsqrtm",
        "powm",
        "powm.tensor",
        "trace_sqrtm",
        "pinvm",
        "pseudo_logdet",
        "spectral_projector",
        "canonical_gauge",
        "eigvalsh_directional",
        "track",
        "density_matrix",
        "density_matrix_full"}) {
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&in_float32>());
  }
}

} // namespace

TORCH_LIBRARY_IMPL(spectralgrad, AutocastCPU, library) {
  register_autocast(library);
}

TORCH_LIBRARY_IMPL(spectralgrad, AutocastCUDA, library) {
  register_autocast(library);
}

TORCH_LIBRARY_IMPL(spectralgrad, AutocastXPU, library) {
  register_autocast(library);
}

TORCH_LIBRARY_IMPL(spectralgrad, AutocastMPS, library) {
  register_autocast(library);
}

} // namespace spectralgrad::ops
