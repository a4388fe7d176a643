#include "math/pairs/judge_cotangents.h"

#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "math/pairs/gauge_report.h"
#include "math/pairs/judge_batch.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;

/// The arguments of the operator, on the host and contiguous. Any but the eigenvalues may be undefined.
struct Cotangents {
  Tensor eigenvalues_cotangent;
  Tensor W;
  Tensor magnitude;
  Tensor eigenvalues;
  Tensor amplification;
  int64_t first; // the eigenpairs that the loss sees: their first index, and their number
  int64_t seen;
};

/// The number of eigenpairs that the loss sees.
c10::SymInt number_seen(const OptionalTensor& eigenvalues_cotangent, const OptionalTensor& W) {
  const auto& columns = W && W->defined() ? W : eigenvalues_cotangent;
  return columns && columns->defined() ? columns->sym_size(-1) : c10::SymInt(0);
}

template <typename real_t>
real_t amplification_of(const Cotangents& cotangents, int64_t matrix) {
  const auto* amplification = math::numbers_or_null<real_t>(cotangents.amplification, matrix, 1);
  return amplification == nullptr ? 1 : *amplification;
}

template <typename scalar_t>
math::Verdict judge_matrix(const Cotangents& cotangents, int64_t matrix) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = cotangents.eigenvalues.size(-1);
  const auto first = cotangents.first;
  const auto seen = cotangents.seen;
  const auto* L = math::numbers_or_null<real_t>(cotangents.eigenvalues, matrix, n);
  const auto* gL = math::numbers_or_null<real_t>(cotangents.eigenvalues_cotangent, matrix, seen);
  const auto* N = math::numbers_or_null<real_t>(cotangents.magnitude, matrix, n * seen);
  const auto* entries = math::numbers_or_null<scalar_t>(cotangents.W, matrix, n * seen);
  const auto is_seen = [&](int64_t i) {
    return i >= first && i < first + seen;
  };
  // Eigenvalues that the loss does not see have a cotangent of 0.
  std::vector<real_t> padded;
  if (gL != nullptr && seen < n) {
    padded.resize(n);
    std::copy_n(gL, seen, padded.begin() + first);
  }
  auto verdict = math::judge<scalar_t>(
      n,
      L,
      padded.empty() ? gL : padded.data(),
      entries != nullptr,
      [&](int64_t i, int64_t j) { return is_seen(j) ? entries[i * seen + j - first] : scalar_t(0); },
      [&](int64_t i, int64_t j) {
        return is_seen(j) ? N[i * seen + j - first] : is_seen(i) ? N[j * seen + i - first] : real_t(0);
      },
      [&] {
        // gV is not available here. The largest N, at most twice the largest norm of a column of gV, takes its place.
        return std::max(largest_size(N, n * seen), largest_size(L, n) * largest_size(gL, seen));
      },
      amplification_of<real_t>(cotangents, matrix));
  if (verdict.finding != math::Finding::none && is_seen(verdict.first) != is_seen(verdict.second)) {
    verdict.finding = math::Finding::cut;
  }
  return verdict;
}

/// The level that contains the pair of `verdict`, of which one eigenvalue is seen and one is not.
template <typename real_t>
math::CutLevel cut_level(const math::Verdict& verdict, const Cotangents& cotangents) {
  const auto n = cotangents.eigenvalues.size(-1);
  const auto* L = math::numbers_or_null<real_t>(cotangents.eigenvalues, verdict.matrix, n);
  const auto eps = tolerances::eps(cotangents.eigenvalues.scalar_type());
  const auto same = tolerances::same_eigenvalue * eps * static_cast<double>(largest_size(L, n)) *
      static_cast<double>(amplification_of<real_t>(cotangents, verdict.matrix));
  auto begin = verdict.first;
  auto end = verdict.second + 1;
  for (; begin > 0 && L[begin] - L[begin - 1] <= same; --begin) {
  }
  for (; end < n && L[end] - L[end - 1] <= same; ++end) {
  }
  const auto stop = cotangents.first + cotangents.seen;
  const bool at_stop = verdict.second >= stop;
  const auto border = at_stop ? stop : cotangents.first;
  return {verdict.matrix, begin, end, border, at_stop, L[border], L[border] - L[border - 1]};
}

Tensor judge_cotangents_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& W,
    const OptionalTensor& magnitude,
    const Tensor& eigenvalues,
    std::string_view caller,
    c10::SymInt first,
    const OptionalTensor& amplification) {
  const auto seen = number_seen(eigenvalues_cotangent, W).expect_int();
  auto shape = eigenvalues.sizes().vec();
  shape.back() = seen;
  auto result = at::zeros(shape, eigenvalues.options());
  if (checks() == Checks::ignore || result.numel() == 0) {
    return result;
  }
  const CallerNameGuard guard(caller);
  using math::on_host;
  const Cotangents cotangents{
      on_host(eigenvalues_cotangent),
      on_host(W),
      on_host(magnitude),
      on_host(eigenvalues),
      on_host(amplification),
      first.expect_int(),
      seen};
  const auto dtype = (W && W->defined() ? *W : eigenvalues).scalar_type();
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "judge_cotangents", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const auto count = eigenvalues.numel() / eigenvalues.size(-1);
    const auto verdict = math::most_severe_verdict(count, [&](int64_t matrix) {
      return judge_matrix<scalar_t>(cotangents, matrix);
    });
    if (verdict.finding == math::Finding::cut) {
      math::report_cut(cut_level<real_t>(verdict, cotangents));
    } else {
      math::report(verdict);
    }
  });
  return result;
}

Tensor judge_cotangents_meta(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& W,
    const OptionalTensor&,
    const Tensor& eigenvalues,
    std::string_view,
    c10::SymInt,
    const OptionalTensor&) {
  auto shape = eigenvalues.sym_sizes().vec();
  shape.back() = number_seen(eigenvalues_cotangent, W);
  return at::empty_symint(shape, eigenvalues.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_cotangents", judge_cotangents_meta> judge_cotangents_op;

} // namespace

namespace math {

Tensor judge_cotangents(
    const Tensor& eigenvalues_cotangent,
    const Tensor& W,
    const Tensor& magnitude,
    const Tensor& eigenvalues,
    const c10::SymInt& first,
    const Tensor& amplification) {
  return with_zeros(
      eigenvalues_cotangent,
      judge_cotangents_op.call(
          optional(eigenvalues_cotangent),
          optional(W),
          optional(magnitude),
          eigenvalues,
          caller_name(),
          first,
          optional(amplification)));
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_cotangents(Tensor? eigenvalues_cotangent, Tensor? W, Tensor? magnitude, Tensor eigenvalues, "
      "str caller=\"eigh\", SymInt first=0, Tensor? amplification=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_cotangents", judge_cotangents_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_cotangents", judge_cotangents_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_cotangents", judge_cotangents_op.constant_kernel());
}

} // namespace spectralgrad
