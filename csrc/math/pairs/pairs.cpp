#include "math/pairs/pairs.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/pairs/tensor_denominators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;
using autograd::is_differentiated;

/// Returns `x`, and 0 in `mask` unless that is undefined.
Tensor zero_in(const Tensor& mask, const Tensor& x) {
  return mask.defined() ? at::where(mask, TensorArithmetic::number_like(0, x), x) : x;
}

} // namespace

Tensor cotangent_magnitude(const Tensor& eigenvectors, const Tensor& eigenvectors_cotangent) {
  const auto products = at::matmul(constant(eigenvectors).abs().mT(), constant(eigenvectors_cotangent).abs());
  return products + products.mT();
}

Tensor largest_column_norm(const Tensor& X) {
  const auto sizes = constant(X).abs();
  // Relative to the largest entry, no square over- or underflows.
  const auto largest = sizes.amax({-2, -1}, /*keepdim=*/true);
  const auto unit = at::where(largest == 0, at::ones_like(largest), largest);
  return unit * (sizes / unit).square().sum(-2, /*keepdim=*/true).sqrt().amax({-1}, /*keepdim=*/true);
}

Tensor cotangent_scale(
    const Tensor& eigenvalues,
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent) {
  if (eigenvalues.sym_size(-1) == 0) {
    return constant(eigenvalues).abs().sum({-1}, /*keepdim=*/true).unsqueeze(-1);
  }
  const auto scale = largest_of(eigenvalues);
  auto result = eigenvectors_cotangent.defined() ? largest_column_norm(eigenvectors_cotangent) : at::zeros_like(scale);
  if (eigenvalues_cotangent.defined()) {
    result = at::maximum(result, scale * largest_of(eigenvalues_cotangent));
  }
  return result;
}

namespace {

/// The decisions of the noise gate.
class Gated {
 public:
  Gated(const Denominators& denominators, const Tensor& S, const CotangentSizes& cotangents, const Rule& rule)
      : numerator_(S) {
    const auto gate = noise_gate(rule, S.scalar_type());
    const auto size = constant(S).abs();
    const auto N = constant(cotangents.magnitude);
    const auto floor = constant(cotangents.largest) * gate.cluster_noise;
    const auto inside = denominators.in_one_cluster(gate);
    // As `NoiseGate::amplified`.
    const auto& amplification = denominators.amplification();
    const auto by = [](const Tensor& x, const Tensor& factor) {
      return factor.defined() ? x * factor : x;
    };
    const auto root = amplification.defined() ? amplification.sqrt() : amplification;
    dropped_ = at::where(
        inside,
        gate.is_dropped_in_cluster<TensorArithmetic>(size, by(N, amplification), by(floor, root)),
        gate.is_dropped_outside<TensorArithmetic>(size, by(N, root)));
    close = denominators.close().logical_or(inside);
  }

  /// The entries that are kept, else 0, with their derivatives.
  Tensor entries() const {
    auto gated = zero_in(dropped_, numerator_);
    if (!is_differentiated(numerator_)) {
      return gated;
    }
    // A straight-through estimator: the value of `gated` with the derivative of S.
    const auto straight_through = numerator_ - constant(numerator_ - gated);
    return at::where(close, gated, straight_through);
  }

  /// Mask of the entries whose derivatives are dropped, too.
  Tensor dropped_with_derivative() const {
    return close.logical_and(dropped_);
  }

  /// Mask of the pairs that are too close to be resolved. F is a constant there.
  Tensor close;

 private:
  Tensor numerator_;
  Tensor dropped_;
};

} // namespace

Tensor divide_cotangent(
    const Tensor& S,
    const CotangentSizes& cotangents,
    const Tensor& values,
    Denominator kind,
    const Rule& rule,
    const c10::SymInt& first) {
  if (values.sym_size(-1) == 0) {
    return at::zeros_like(S);
  }
  const Denominators denominators(values, S.sym_size(-1), kind, rule, first, cotangents.amplification);
  const auto excluded = denominators.zeros();
  const auto numerator = zero_in(excluded, S);
  if (!rule.gates()) {
    return denominators.over_unit(denominators.inverse(excluded, {}).conj() * numerator);
  }
  const Gated gated(denominators, numerator, cotangents, rule);
  return denominators.over_unit(denominators.inverse(excluded, gated.close).conj() * gated.entries());
}

DifferentiatedQuotient differentiate_quotient(
    const Tensor& S,
    const CotangentSizes& cotangents,
    const Tensor& values,
    Denominator kind,
    const Rule& rule) {
  if (values.sym_size(-1) == 0) {
    return {S, S, S, at::ones_like(constant(values)).sum({-1}, /*keepdim=*/true).unsqueeze(-1)};
  }
  const Denominators denominators(values, S.sym_size(-1), kind, rule);
  const auto excluded = denominators.zeros();
  auto entries = zero_in(excluded, S);
  auto without_factor = excluded;
  Tensor close;
  if (rule.gates()) {
    const Gated gated(denominators, entries, cotangents, rule);
    close = gated.close;
    entries = gated.entries();
    without_factor = excluded.logical_or(gated.dropped_with_derivative());
  }
  const auto F = denominators.inverse(excluded, close);
  const auto slope = zero_in(close, denominators.slope(excluded, close));
  return {
      denominators.over_unit(F * entries),
      denominators.over_unit(zero_in(without_factor, F)),
      denominators.over_unit(slope * entries),
      denominators.unit()};
}

Tensor divide_tangent(
    const Tensor& X,
    const Tensor& values,
    Denominator kind,
    const Rule& rule,
    const Tensor& amplification) {
  if (values.sym_size(-1) == 0) {
    return at::zeros_like(X);
  }
  const Denominators denominators(values, X.sym_size(-1), kind, rule, 0, amplification);
  const auto dropped = rule.gates() ? denominators.close() : denominators.zeros();
  return denominators.over_unit(denominators.inverse(dropped, {}) * zero_in(dropped, X));
}

} // namespace spectralgrad::math
