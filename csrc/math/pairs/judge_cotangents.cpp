#include "math/pairs/judge_cotangents.h"

#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/optional_tensor.h"
#include "core/scalar_traits.h"
#include "math/pairs/gauge_report.h"
#include "math/pairs/judge.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

namespace spectralgrad {
namespace {

using at::Tensor;

template <typename T>
const T* data_or_null(const Tensor& x, int64_t offset) {
  return x.defined() ? x.const_data_ptr<T>() + offset : nullptr;
}

/// The most severe finding in the batch, with the first matrix that has it.
math::Verdict judge_batch(
    const Tensor& eigenvalues_cotangent,
    const Tensor& W,
    const Tensor& magnitude,
    const Tensor& eigenvalues) {
  math::Verdict most_severe;
  const auto n = eigenvalues.size(-1);
  const auto dtype = W.defined() ? W.scalar_type() : eigenvalues.scalar_type();
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "judge_cotangents", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    for (int64_t matrix = 0; matrix < eigenvalues.numel() / n; ++matrix) {
      const auto* N = data_or_null<real_t>(magnitude, matrix * n * n);
      const auto* entries = data_or_null<scalar_t>(W, matrix * n * n);
      auto verdict = math::judge<scalar_t>(
          n,
          eigenvalues.const_data_ptr<real_t>() + matrix * n,
          data_or_null<real_t>(eigenvalues_cotangent, matrix * n),
          entries != nullptr,
          [&](int64_t i, int64_t j) { return entries[i * n + j]; },
          [&](int64_t i, int64_t j) { return N[i * n + j]; },
          [&] {
            const auto* L = eigenvalues.const_data_ptr<real_t>() + matrix * n;
            // gV is not available here. The largest N, at most twice the largest norm of a column of gV, takes its
            // place.
            return std::max(
                largest_size(N, n * n),
                largest_size(L, n) * largest_size(data_or_null<real_t>(eigenvalues_cotangent, matrix * n), n));
          });
      verdict.matrix = matrix;
      if (verdict.is_more_severe_than(most_severe)) {
        most_severe = verdict;
      }
    }
  });
  return most_severe;
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
  // Runs on the host for every device, because it takes only a few passes over small data.
  const auto plain = [](const OptionalTensor& x) {
    return x && x->defined() ? x->resolve_conj().resolve_neg().cpu().contiguous() : Tensor();
  };
  math::report(judge_batch(plain(eigenvalues_cotangent), plain(W), plain(magnitude), plain(eigenvalues)));
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
  // The operator returns zeros. They are added to the gradient so that no compiler removes the call as dead code.
  const auto zeros =
      judge_op.call(optional(eigenvalues_cotangent), optional(W), optional(magnitude), eigenvalues, caller_name());
  return eigenvalues_cotangent.defined() ? eigenvalues_cotangent + zeros : zeros;
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
