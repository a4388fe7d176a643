#include "ops/eig_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "math/eig.h"
#include "ops/jvp_kernels.h"

#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

constexpr auto eig_jvp_tensor_code = eigenpairs_jvp<math::eig_jvp>;
using EigJvpKernels = JvpKernels<1, eig_jvp_tensor_code>;

constexpr autograd::OperatorHandle<"spectralgrad::eig_jvp", eig_jvp_tensor_code> eig_jvp_op;

} // namespace

std::tuple<Tensor, Tensor> eig_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  return eig_jvp_op.call(tangent, eigenvalues, eigenvectors, rule.name(), rule.parameters(), caller_name("eig"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eig_jvp(Tensor tangent, Tensor eigenvalues, Tensor eigenvectors, str rule, float[] parameters, "
      "str caller=\"eig\") -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eig_jvp", EigJvpKernels::kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eig_jvp", EigJvpKernels::meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eig_jvp", eig_jvp_op.tensor_code_kernel<eig_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
