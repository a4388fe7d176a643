#include "math/pairs/judge_polar_factor.h"

#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "core/tolerances.h"
#include "math/pairs/gauge_report.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;

Tensor judge_polar_factor_kernel(
    const Tensor& W_cotangent,
    const Tensor& W,
    const Tensor& values,
    const Tensor& vectors,
    bool proper,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  auto result = at::zeros(values.sizes(), values.options());
  if (checks() == Checks::ignore || values.numel() == 0) {
    return result;
  }
  const auto sums = (values.unsqueeze(-1) + values.unsqueeze(-2)).abs();
  const auto largest = values.abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
  const auto vanish = sums <= tolerances::close_gap * tolerances::eps(values.scalar_type()) * largest;
  if (!vanish.any().item<bool>()) {
    return result;
  }
  const auto U = at::matmul(W, vectors);
  const auto G = at::matmul(W_cotangent, vectors);
  const auto T = at::matmul(U.mH(), G);
  auto dependence = proper ? ((T - T.mH()) * 0.5).abs() : T.abs();
  if (W.size(-2) != W.size(-1)) {
    const auto outside = (G - at::matmul(U, T)).abs().amax({-2});
    dependence = at::maximum(dependence, at::diag_embed(outside));
  }
  // The gradient of a distance vanishes at a perfect fit. Its round-off is that of A.
  const auto round_off = tolerances::cancelled_cotangent(values.scalar_type()) *
      largest.clamp_max(tolerances::largest_distance);
  const auto significant = (dependence > tolerances::gauge(values.scalar_type()) * G.abs().amax({-2, -1}, true))
                               .logical_and(dependence > round_off);
  const auto n = values.size(-1);
  const auto found = significant.logical_and(vanish).reshape({-1, n, n}).nonzero();
  if (found.size(0) > 0) {
    const CallerNameGuard guard(caller);
    const auto index = [&](int64_t i) {
      return found[0][i].item<int64_t>();
    };
    math::report_not_unique({index(0), index(1), index(2), proper});
  }
  return result;
}

Tensor judge_polar_factor_meta(
    const Tensor&,
    const Tensor&,
    const Tensor& values,
    const Tensor&,
    bool,
    std::string_view) {
  return at::empty_symint(values.sym_sizes(), values.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_polar_factor", judge_polar_factor_meta> judge_polar_factor_op;

} // namespace

namespace math {

Tensor judge_polar_factor(
    const Tensor& W_cotangent,
    const Tensor& W,
    const Tensor& values,
    const Tensor& vectors,
    bool proper) {
  return judge_polar_factor_op.call(W_cotangent, W, values, vectors, proper, caller_name("polar"));
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_polar_factor(Tensor W_cotangent, Tensor W, Tensor values, Tensor vectors, bool proper, "
      "str caller=\"polar\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_polar_factor", judge_polar_factor_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_polar_factor", judge_polar_factor_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_polar_factor", judge_polar_factor_op.constant_kernel());
}

} // namespace spectralgrad
