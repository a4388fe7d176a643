#include "ops/eigh_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_jvp/eigh_jvp.h"
#include "kernels/eigh_jvp/eigh_jvp_by_products.h"
#include "kernels/simd/batch_layout.h"
#include "math/eigh.h"
#include "ops/jvp_kernels.h"

#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

/// Runs `function`, which broadcasts. If one decomposition is expanded over the batch, it is not copied.
template <auto function>
std::pair<Tensor, Tensor> without_repeats(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (tangent.numel() == 0) {
    return function(tangent, eigenvalues, eigenvectors, rule);
  }
  return function(tangent, kernels::without_repeats(eigenvalues, 1), kernels::without_repeats(eigenvectors, 2), rule);
}

std::pair<Tensor, Tensor> eigh_jvp_on_cpu(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (eigenvectors.numel() == 0) {
    return math::eigh_jvp(tangent, eigenvalues, eigenvectors, rule);
  }
  const bool in_lanes = kernels::pass_in_lanes(kernels::batch_traits(eigenvectors));
  return (
      in_lanes ? kernels::eigh_jvp
               : without_repeats<kernels::eigh_jvp_by_products>)(tangent, eigenvalues, eigenvectors, rule);
}

constexpr auto eigh_jvp_tensor_code = eigenpairs_jvp<math::eigh_jvp>;

template <auto function>
using EighJvpKernels = JvpKernels<1, &eigenpairs_jvp<function>>;

constexpr autograd::OperatorHandle<"spectralgrad::eigh_jvp", eigh_jvp_tensor_code> eigh_jvp_op;

} // namespace

std::pair<Tensor, Tensor> eigh_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  auto [dL, dV] = eigh_jvp_op.call(tangent, eigenvalues, eigenvectors, rule.name(), rule.parameters(), caller_name());
  return {std::move(dL), std::move(dV)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_jvp(Tensor tangent, Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters, "
      "str caller=\"eigh\") "
      "-> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_jvp", EighJvpKernels<without_repeats<math::eigh_jvp>>::kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_jvp", EighJvpKernels<eigh_jvp_on_cpu>::kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_jvp", EighJvpKernels<eigh_jvp_on_cpu>::meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_jvp", eigh_jvp_op.tensor_code_kernel<eigh_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
