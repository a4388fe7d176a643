#include "math/pairs/judge_cotangents.h"

#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/scalar_traits.h"
#include "math/pairs/gauge_report.h"
#include "math/pairs/judge_batch.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

namespace spectralgrad {
namespace {

using at::Tensor;

math::Verdict judge_batch(
    const Tensor& eigenvalues_cotangent,
    const Tensor& W,
    const Tensor& magnitude,
    const Tensor& eigenvalues) {
  const auto n = eigenvalues.size(-1);
  const auto dtype = W.defined() ? W.scalar_type() : eigenvalues.scalar_type();
  return AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "judge_cotangents", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    return math::most_severe_verdict(eigenvalues.numel() / n, [&](int64_t matrix) {
      const auto* L = math::numbers_or_null<real_t>(eigenvalues, matrix, n);
      const auto* gL = math::numbers_or_null<real_t>(eigenvalues_cotangent, matrix, n);
      const auto* N = math::numbers_or_null<real_t>(magnitude, matrix, n * n);
      const auto* entries = math::numbers_or_null<scalar_t>(W, matrix, n * n);
      return math::judge<scalar_t>(
          n,
          L,
          gL,
          entries != nullptr,
          [&](int64_t i, int64_t j) { return entries[i * n + j]; },
          [&](int64_t i, int64_t j) { return N[i * n + j]; },
          [&] {
            // gV is not available here. The largest N, at most twice the largest norm of a column of gV, takes its
            // place.
            return std::max(largest_size(N, n * n), largest_size(L, n) * largest_size(gL, n));
          });
    });
  });
}

Tensor judge_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& W,
    const OptionalTensor& magnitude,
    const Tensor& eigenvalues,
    std::string_view caller) {
  auto result = at::zeros(eigenvalues.sizes(), eigenvalues.options());
  if (checks() == Checks::ignore || eigenvalues.numel() == 0) {
    return result;
  }
  const CallerNameGuard guard(caller);
  using math::on_host;
  math::report(judge_batch(on_host(eigenvalues_cotangent), on_host(W), on_host(magnitude), on_host(eigenvalues)));
  return result;
}

Tensor judge_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& eigenvalues,
    std::string_view) {
  return at::empty_symint(eigenvalues.sym_sizes(), eigenvalues.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_cotangents", judge_meta> judge_op;

} // namespace

namespace math {

Tensor judge_cotangents(
    const Tensor& eigenvalues_cotangent,
    const Tensor& W,
    const Tensor& magnitude,
    const Tensor& eigenvalues) {
  return with_zeros(
      eigenvalues_cotangent,
      judge_op.call(optional(eigenvalues_cotangent), optional(W), optional(magnitude), eigenvalues, caller_name()));
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_cotangents(Tensor? eigenvalues_cotangent, Tensor? W, Tensor? magnitude, Tensor eigenvalues, "
      "str caller=\"eigh\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_cotangents", judge_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_cotangents", judge_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_cotangents", judge_op.constant_kernel());
}

} // namespace spectralgrad
