#include "ops/generalized_eigh_jvp.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "math/generalized_eigh.h"
#include "ops/arguments.h"
#include "ops/jvp_kernels.h"

#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> generalized_eigh_jvp_tensor_code(
    const OptionalTensor& A_tangent,
    const OptionalTensor& B_tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  auto [dL, dV] = math::generalized_eigh_jvp(
      tensor_or_undefined(A_tangent),
      tensor_or_undefined(B_tangent),
      eigenvalues,
      eigenvectors,
      B_diagonal,
      itype,
      Rule::parse(rule, parameters));
  return {std::move(dL), std::move(dV)};
}

using GeneralizedEighJvpKernels = JvpKernels<2, generalized_eigh_jvp_tensor_code>;

constexpr autograd::OperatorHandle<"spectralgrad::generalized_eigh_jvp", generalized_eigh_jvp_tensor_code> jvp_op;

} // namespace

std::pair<Tensor, Tensor> generalized_eigh_jvp(
    const Tensor& A_tangent,
    const Tensor& B_tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    const Rule& rule) {
  auto [dL, dV] = jvp_op.call(
      optional(A_tangent),
      optional(B_tangent),
      eigenvalues,
      eigenvectors,
      B_diagonal,
      itype,
      rule.name(),
      rule.parameters(),
      caller_name("generalized_eigh"));
  return {std::move(dL), std::move(dV)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "generalized_eigh_jvp(Tensor? A_tangent, Tensor? B_tangent, Tensor eigenvalues, "
      "Tensor eigenvectors, Tensor B_diagonal, int itype, str rule, float[] parameters, "
      "str caller=\"generalized_eigh\") -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("generalized_eigh_jvp", GeneralizedEighJvpKernels::kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("generalized_eigh_jvp", GeneralizedEighJvpKernels::meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("generalized_eigh_jvp", jvp_op.tensor_code_kernel<generalized_eigh_jvp_tensor_code>());
}

} // namespace spectralgrad::ops
