#include "math/pairs/gaps.h"

#include "autograd/constant.h"
#include "core/tolerances.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;
using autograd::is_differentiated;

/// max|lambda| (*, 1, 1)
Tensor largest_of(const Tensor& eigenvalues) {
  return constant(eigenvalues).abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
}

struct Gaps {
  Tensor scale; // (*, 1, 1), constant, > 0
  Tensor relative; // (*, n, n), d/scale
  Tensor diagonal; // (*, n, n), bool
  double width; // half-width: relative to max|lambda|, in units of eps*max|lambda| for the gated rule, or absolute
  bool relative_width; // false if `width` is absolute

  Gaps(const Tensor& eigenvalues, const Rule& rule)
      : width(rule.width().value_or(0)), relative_width(rule.relative() || width == 0) {
    // Callers return early for n = 0, for which amax has no identity.
    const auto largest = largest_of(eigenvalues);
    // Relative to the larger of max|lambda| and an absolute width, no quotient overflows.
    const auto unit = relative_width ? largest : at::clamp_min(largest, width);
    scale = at::where(unit == 0, at::ones_like(unit), unit);
    // Differences of very large eigenvalues would overflow before they are divided.
    const auto limit = std::numeric_limits<double>::max() / 4;
    const auto float_limit = static_cast<double>(std::numeric_limits<float>::max()) / 4;
    const auto huge = largest > (eigenvalues.scalar_type() == at::kFloat ? float_limit : limit);
    const auto shrink = at::where(huge, at::ones_like(largest) * 0.25, at::ones_like(largest));
    const auto shrunk = eigenvalues * shrink.squeeze(-1);
    relative = (shrunk.unsqueeze(-2) - shrunk.unsqueeze(-1)) / (scale * shrink);
    // Computed from the eigenvalues, so that tensor subclasses (sharded tensors) give a mask of their own type.
    diagonal = at::diag_embed(at::ones_like(eigenvalues, eigenvalues.options().dtype(at::kBool)));
  }

  Tensor closer_than(double eps_units) const {
    return constant(relative).abs() <= eps_units * tolerances::eps(relative.scalar_type());
  }

  /// Mask (*, n, n) of the pairs in one cluster: linked by gaps that are round-off, and no further apart than
  /// `cluster_reach`.
  Tensor in_one_cluster() const {
    const auto steps = constant(relative).diagonal(1, -2, -1).abs();
    const auto begins = (steps > tolerances::same_eigenvalue * tolerances::eps(relative.scalar_type())).to(at::kLong);
    const auto cluster =
        at::cat({at::zeros_like(relative.select(-2, 0).slice(-1, 0, 1)).to(at::kLong), begins}, -1).cumsum(-1);
    return (cluster.unsqueeze(-1) == cluster.unsqueeze(-2)).logical_and(closer_than(tolerances::cluster_reach));
  }
};

/// Returns x/(x^2 + eta^2). Everything is divided by the larger of |x| and eta, so that no square over- or underflows.
Tensor lorentzian(const Tensor& x, const Tensor& half_width) {
  const auto larger = at::maximum(constant(x).abs(), half_width);
  const auto unit = at::where(larger == 0, at::ones_like(larger), larger);
  const auto denominator = x * (x / unit) + half_width * (half_width / unit);
  return (x / unit) / at::where(larger == 0, at::ones_like(larger), denominator);
}

/// Returns `x`; its entries in `mask` are not differentiated.
Tensor freeze(const Tensor& x, const Tensor& mask) {
  return is_differentiated(x) ? at::where(mask, constant(x), x) : x;
}

/// Returns 1/x, and 0 in `mask`. Forms no 1/0 there, whose derivative would be NaN.
Tensor reciprocal_outside(const Tensor& x, const Tensor& mask) {
  const auto safe = at::where(mask, at::ones_like(x), x);
  return at::where(mask, at::zeros_like(x), safe.reciprocal());
}

/// Returns F in units of 1/scale, before any noise gate. Pairs in `frozen` are not differentiated. The diagonal is
/// zero.
Tensor inverse_gaps(const Gaps& gaps, const Rule& rule, const Tensor& frozen) {
  const auto x = freeze(gaps.relative, frozen);
  // In units of `gaps.scale`.
  const auto half_width = [&] {
    const auto one = at::ones_like(gaps.scale);
    return gaps.relative_width ? one * gaps.width : gaps.width / gaps.scale;
  };
  switch (rule.kind()) {
    case Rule::Kind::gated:
    case Rule::Kind::split: {
      const auto units = rule.kind() == Rule::Kind::split ? tolerances::gate_width : gaps.width;
      return lorentzian(x, at::ones_like(gaps.scale) * (units * tolerances::eps(x.scalar_type())));
    }
    case Rule::Kind::lorentzian:
      return lorentzian(x, half_width());
    case Rule::Kind::cutoff:
      return reciprocal_outside(x, gaps.diagonal.logical_or(constant(x).abs() <= half_width()));
    case Rule::Kind::bare:
      break;
  }
  return reciprocal_outside(x, gaps.diagonal);
}

} // namespace

Tensor cotangent_magnitude(const Tensor& eigenvectors, const Tensor& eigenvectors_cotangent) {
  const auto products = at::matmul(constant(eigenvectors).abs().mT(), constant(eigenvectors_cotangent).abs());
  return products + products.mT();
}

Tensor cotangent_scale(
    const Tensor& eigenvalues,
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent) {
  if (eigenvalues.sym_size(-1) == 0) {
    return constant(eigenvalues).abs().sum({-1}, /*keepdim=*/true).unsqueeze(-1);
  }
  const auto scale = largest_of(eigenvalues);
  Tensor result = at::zeros_like(scale);
  if (eigenvectors_cotangent.defined()) {
    const auto sizes = constant(eigenvectors_cotangent).abs();
    // Relative to the largest entry, no square over- or underflows.
    const auto largest = sizes.amax({-2, -1}, /*keepdim=*/true);
    const auto unit = at::where(largest == 0, at::ones_like(largest), largest);
    result = unit * (sizes / unit).square().sum(-2, /*keepdim=*/true).sqrt().amax({-1}, /*keepdim=*/true);
  }
  if (eigenvalues_cotangent.defined()) {
    result = at::maximum(result, scale * largest_of(eigenvalues_cotangent));
  }
  return result;
}

Tensor divide_cotangent_by_gaps(
    const Tensor& S,
    const CotangentSizes& cotangents,
    const Tensor& eigenvalues,
    const Rule& rule) {
  if (eigenvalues.sym_size(-1) == 0) {
    return at::zeros_like(S);
  }
  const Gaps gaps(eigenvalues, rule);
  const auto off_diagonal = at::where(gaps.diagonal, at::zeros({}, S.options()), S);
  if (!rule.gates()) {
    return inverse_gaps(gaps, rule, gaps.diagonal) * off_diagonal / gaps.scale;
  }
  const auto dtype = S.scalar_type();
  const auto size = constant(off_diagonal).abs();
  const auto magnitude = constant(cotangents.magnitude);
  const auto inside = gaps.in_one_cluster();
  const auto round_off = at::where(
      inside,
      constant(cotangents.largest) * (rule.noise() * tolerances::cluster_rounding(dtype)),
      magnitude * (rule.noise() * tolerances::product_rounding(dtype)));
  auto dropped = size <= round_off;
  if (rule.noise() > 0) {
    dropped = dropped.logical_or(inside.logical_and(size > magnitude * tolerances::gauge(dtype)));
  }
  // NaN and Inf are never noise.
  dropped = dropped.logical_and(size < std::numeric_limits<double>::infinity());
  const auto gated = at::where(dropped, at::zeros({}, S.options()), off_diagonal);
  const auto close = gaps.closer_than(tolerances::close_gap).logical_or(inside);
  const auto F = inverse_gaps(gaps, rule, close);
  if (!is_differentiated(S)) {
    return F * gated / gaps.scale;
  }
  // A straight-through estimator: the value of `gated` with the derivative of S.
  const auto straight_through = off_diagonal - constant(off_diagonal - gated);
  return F * at::where(close, gated, straight_through) / gaps.scale;
}

Tensor divide_tangent_by_gaps(const Tensor& X, const Tensor& eigenvalues, const Rule& rule) {
  if (eigenvalues.sym_size(-1) == 0) {
    return at::zeros_like(X);
  }
  const Gaps gaps(eigenvalues, rule);
  const auto dropped = rule.gates() ? gaps.closer_than(tolerances::close_gap) : gaps.diagonal;
  const auto kept = at::where(dropped, at::zeros({}, X.options()), X);
  return inverse_gaps(gaps, rule, dropped) * kept / gaps.scale;
}

Tensor quotient(const Tensor& numerator, const Tensor& gap) {
  const auto select = [](const Tensor& mask, const Tensor& yes, const Tensor& no) {
    return at::where(mask, yes, no);
  };
  return quotient_or_zero(numerator, gap, at::zeros({}, gap.options()), at::ones({}, gap.options()), select);
}

} // namespace spectralgrad::math
