#include "math/pairs/pairs.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/pairs/broadening.h"
#include "math/pairs/clusters.h"
#include "math/pairs/noise_gate.h"
#include "math/pairs/tensor_arithmetic.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;
using autograd::is_differentiated;

/// max|x| (*, 1, 1), a constant.
Tensor largest_of(const Tensor& values) {
  return constant(values).abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
}

/// Like `largest_of`, but of the real and imaginary parts, whose absolute values do not overflow.
Tensor largest_part_of(const Tensor& values) {
  return values.is_complex() ? at::view_as_real(constant(values).resolve_conj()).abs().amax({-2, -1}, /*keepdim=*/true)
                             : largest_of(values);
}

/// The values (*, n) such that no sum or difference of them overflows, and their unit (*, 1, 1).
struct ScaledValues {
  Tensor scaled;
  DenominatorUnit<TensorArithmetic> unit;

  static ScaledValues of(const Tensor& values, const BroadeningRule<double>& rule) {
    // Callers return early for n = 0, for which amax has no identity.
    const auto largest = largest_part_of(values);
    const auto room = headroom<TensorArithmetic>(largest);
    const auto scaled = values * room.squeeze(-1);
    return {scaled, {values.is_complex() ? largest_of(scaled) : largest * room, room, rule.absolute_width}};
  }
};

/// The denominators of all pairs, or of the pairs with `first` <= j < `first` + `columns`.
class Denominators {
 public:
  Denominators(
      const Tensor& values,
      const c10::SymInt& columns,
      Denominator kind,
      const Rule& rule,
      const c10::SymInt& first = 0,
      const Tensor& amplification = {})
      : kind_(kind),
        rule_(broadening_rule(rule, values.scalar_type())),
        values_(ScaledValues::of(values, rule_)),
        amplification_(amplification.defined() ? constant(amplification).unsqueeze(-1).unsqueeze(-1) : Tensor()),
        first_(first),
        columns_(columns),
        relative_(denominator(kind, values_.scaled.unsqueeze(-1), as_columns(values_.scaled)) / values_.unit.size) {
    // Computed from the values, so that tensor subclasses (sharded tensors) give a mask of their own type.
    const auto options = values.options().dtype(at::kBool);
    diagonal_ = at::diag_embed(at::ones_like(columns_of(values), options));
    if (kind != Denominator::value && values.sym_size(-1) != columns) {
      const auto others = at::zeros_like(constant(relative_), options);
      diagonal_ = at::cat({others.slice_symint(-2, 0, first), diagonal_, others.slice_symint(-2, first + columns)}, -2);
    }
  }

  /// Mask (*, n, c) of the denominators that are zero by definition; an undefined tensor for kinds without them.
  Tensor zeros() const {
    return kind_ == Denominator::difference ? diagonal_ : Tensor();
  }

  /// Mask (*, n, c) of the pairs that are not resolved.
  Tensor close() const {
    const auto dtype = relative_.scalar_type();
    const auto rounding = tolerances::close_gap * tolerances::eps(dtype);
    const auto gaps = constant(relative_).abs();
    return amplification_.defined()
        ? gaps <= (rounding * amplification_).clamp_max(tolerances::largest_close_gap(dtype))
        : gaps <= rounding;
  }

  /// Mask (*, n, c) of the pairs in one cluster; (*, 1, c) for single values.
  Tensor in_one_cluster(const NoiseGate<double>& gate) const {
    const auto gaps = over_amplification(constant(relative_));
    if (gaps.is_complex()) {
      return linked_by_steps(gaps.abs() <= gate.step).logical_and(gaps.abs() <= gate.reach);
    }
    const auto values = constant(values_.scaled);
    const auto unit = values_.unit.size.squeeze(-1);
    const auto steps =
        over_amplification(((values.slice(-1, 1) - values.slice(-1, 0, -1)).abs() / unit).unsqueeze(-1)).squeeze(-1);
    const auto first = at::zeros_like(values.slice(-1, 0, 1)).to(at::kLong);
    const auto number = at::cat({first, begins_cluster(steps, gate.step).to(at::kLong)}, -1).cumsum(-1);
    const auto inside = [&](const Tensor& i, const Tensor& j) {
      return math::in_one_cluster<TensorArithmetic>(i, j, gaps, gate.reach);
    };
    if (kind_ == Denominator::difference) {
      return inside(number.unsqueeze(-1), as_columns(number));
    }
    // Sums are differences of x_j and -x_i, and values are differences of x_j and 0. A cluster includes -x_i, or 0, if
    // it includes the smallest x, and if that is linked to its negative, or to 0.
    const auto smallest = values.amin({-1}, /*keepdim=*/true);
    const auto around_zero = at::where(values == smallest, number, at::zeros_like(number) - 1).amax({-1}, true);
    const auto distance = kind_ == Denominator::sum ? 2 * smallest : smallest;
    const auto other =
        at::where(begins_cluster(distance / unit, gate.step), at::zeros_like(around_zero) - 1, around_zero);
    const auto i = at::where(number == other, number, at::zeros_like(number) - 1);
    return kind_ == Denominator::sum ? inside(i.unsqueeze(-1), as_columns(number))
                                     : inside(other.unsqueeze(-1), as_columns(number));
  }

  /// F (*, n, c) in units of 1/`unit`, before any noise gate. For pairs in `excluded` it is a finite number without a
  /// meaning, for pairs in `frozen` a constant of differentiation. Either mask may be undefined.
  Tensor inverse(const Tensor& excluded, const Tensor& frozen) const {
    return broadened_inverse()(argument(excluded, frozen));
  }

  /// The derivative of F with respect to the denominators, in units of 1/`unit`^2. Masks are as for `inverse`.
  Tensor slope(const Tensor& excluded, const Tensor& frozen) const {
    return broadened_inverse().derivative(argument(excluded, frozen));
  }

  /// The unit of the denominators (*, 1, 1).
  Tensor unit() const {
    return values_.unit.size / values_.unit.headroom;
  }

  /// Divides by the unit.
  Tensor over_unit(const Tensor& quotients) const {
    return quotients / unit();
  }

  /// Returns the amplification (*, 1, 1); undefined means 1.
  const Tensor& amplification() const {
    return amplification_;
  }

 private:
  /// Gaps (*, n, c) in units of the amplified round-off.
  Tensor over_amplification(const Tensor& gaps) const {
    return amplification_.defined() ? gaps / amplification_ : gaps;
  }

  /// The pairs linked by a chain of up to 16 linked pairs. That is enough for the shortest chain across
  /// `NoiseGate::reach` on a line, because any two consecutive links of it span more than one step.
  static Tensor linked_by_steps(const Tensor& linked) {
    static_assert(tolerances::cluster_reach <= 8 * tolerances::same_eigenvalue);
    auto chains = linked;
    for (int length = 1; length < 16; length *= 2) {
      const auto counts = chains.to(at::kFloat);
      chains = at::matmul(counts, counts) > 0;
    }
    return chains;
  }

  BroadenedInverse<TensorArithmetic> broadened_inverse() const {
    return {rule_, values_.unit, std::numeric_limits<double>::infinity()};
  }

  Tensor argument(const Tensor& excluded, const Tensor& frozen) const {
    auto x = relative_;
    if (frozen.defined() && is_differentiated(x)) {
      x = at::where(frozen, constant(x), x);
    }
    return excluded.defined() ? at::where(excluded, TensorArithmetic::number_like(1, x), x) : x;
  }

  Tensor columns_of(const Tensor& x) const {
    return x.sym_size(-1) == columns_ ? x : x.slice_symint(-1, first_, first_ + columns_);
  }

  /// The values, or numbers, x (*, n) of the columns j: (*, 1, c).
  Tensor as_columns(const Tensor& x) const {
    return columns_of(x).unsqueeze(-2);
  }

  Denominator kind_;
  BroadeningRule<double> rule_;
  ScaledValues values_;
  Tensor amplification_; // (*, 1, 1), or undefined
  c10::SymInt first_;
  c10::SymInt columns_;
  Tensor relative_; // (*, n, c), in units of `values_.unit`; (*, 1, c) for single values
  Tensor diagonal_;
};

/// Returns `x`, and 0 in `mask` unless that is undefined.
Tensor zero_in(const Tensor& mask, const Tensor& x) {
  return mask.defined() ? at::where(mask, TensorArithmetic::number_like(0, x), x) : x;
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
    const auto gated = zero_in(dropped_, numerator_);
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
