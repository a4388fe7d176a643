#include "ops/eigh_subset_vjp.h"

#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "kernels/eigh_vjp/eigh_vjp.h"
#include "math/eigh_subset.h"
#include "ops/arguments.h"
#include "ops/zero_columns.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor eigh_subset_vjp_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    c10::SymInt first,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return math::eigh_subset_vjp(
      tensor_or_undefined(eigenvalues_cotangent),
      tensor_or_undefined(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      Rule::parse(rule, parameters));
}

/// Whether `border` separates equal eigenvalues of any matrix (count, n).
template <typename real_t>
bool cuts_a_level(const real_t* eigenvalues, int64_t count, int64_t n, int64_t border) {
  const auto same = tolerances::same_eigenvalue * tolerances::eps(c10::CppTypeToScalarType<real_t>::value);
  for (int64_t i = 0; i < count && border > 0 && border < n; ++i) {
    const auto* x = eigenvalues + i * n;
    if (x[border] - x[border - 1] <= static_cast<real_t>(same) * largest_size(x, n)) {
      return true;
    }
  }
  return false;
}

/// The kernel of `eigh_vjp` skips columns without a cotangent, too. It does not know what a cut is, so tensor code
/// takes over if there is one to report.
Tensor eigh_subset_vjp_on_cpu(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    c10::SymInt first,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const auto n = eigenvalues.size(-1);
  const auto start = first.expect_int();
  const auto count = (eigenvectors_cotangent ? eigenvectors_cotangent : eigenvalues_cotangent)->size(-1);
  const bool has_cut = checks() != Checks::ignore && eigenvalues.numel() > 0 &&
      AT_DISPATCH_FLOATING_TYPES(eigenvalues.scalar_type(), "eigh_subset_vjp", [&] {
                         const auto values = eigenvalues.contiguous();
                         const auto* data = values.const_data_ptr<scalar_t>();
                         return cuts_a_level(data, values.numel() / n, n, start) ||
                             cuts_a_level(data, values.numel() / n, n, start + count);
                       });
  if (has_cut || count == 0) {
    return eigh_subset_vjp_kernel(
        eigenvalues_cotangent,
        eigenvectors_cotangent,
        eigenvalues,
        eigenvectors,
        std::move(first),
        rule,
        parameters,
        caller);
  }
  const CallerNameGuard guard(caller);
  return kernels::eigh_vjp(
      eigenvalues_cotangent ? with_zero_entries(*eigenvalues_cotangent, n, start) : Tensor(),
      eigenvectors_cotangent ? with_zero_columns(*eigenvectors_cotangent, n, start) : Tensor(),
      eigenvalues,
      eigenvectors,
      Rule::parse(rule, parameters));
}

Tensor eigh_subset_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    c10::SymInt,
    std::string_view,
    RuleParameters,
    std::string_view) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigh_subset_vjp", eigh_subset_vjp_meta> eigh_subset_vjp_op;

} // namespace

Tensor eigh_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  return eigh_subset_vjp_op.call(
      optional(eigenvalues_cotangent),
      optional(eigenvectors_cotangent),
      eigenvalues,
      eigenvectors,
      first,
      rule.name(),
      rule.parameters(),
      caller_name("eigh_subset"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "eigh_subset_vjp(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor eigenvalues, "
      "Tensor eigenvectors, SymInt first, str rule, float[] parameters, str caller=\"eigh_subset\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigh_subset_vjp", eigh_subset_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("eigh_subset_vjp", eigh_subset_vjp_on_cpu);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigh_subset_vjp", eigh_subset_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigh_subset_vjp", autograd::recomputed_kernel<eigh_subset_vjp_op, eigh_subset_vjp_kernel>());
}

} // namespace spectralgrad::ops
