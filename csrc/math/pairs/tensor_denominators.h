#pragma once

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/pairs/broadening.h"
#include "math/pairs/clusters.h"
#include "math/pairs/denominators.h"
#include "math/pairs/noise_gate.h"
#include "math/pairs/tensor_arithmetic.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

// The denominators of the pairs of a batch, as tensors. For math/pairs/pairs.cpp.
namespace spectralgrad::math {

/// max|x| (*, 1, 1), a constant.
inline at::Tensor largest_of(const at::Tensor& values) {
  return autograd::constant(values).abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
}

/// Like `largest_of`, but of the real and imaginary parts, whose absolute values do not overflow.
inline at::Tensor largest_part_of(const at::Tensor& values) {
  return values.is_complex()
      ? at::view_as_real(autograd::constant(values).resolve_conj()).abs().amax({-2, -1}, /*keepdim=*/true)
      : largest_of(values);
}

/// The values (*, n) such that no sum or difference of them overflows, and their unit (*, 1, 1).
struct ScaledValues {
  at::Tensor scaled;
  DenominatorUnit<TensorArithmetic> unit;

  static ScaledValues of(const at::Tensor& values, const BroadeningRule<double>& rule) {
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
      const at::Tensor& values,
      const c10::SymInt& columns,
      Denominator kind,
      const Rule& rule,
      const c10::SymInt& first = 0,
      const at::Tensor& amplification = {})
      : kind_(kind),
        rule_(broadening_rule(rule, values.scalar_type())),
        values_(ScaledValues::of(values, rule_)),
        amplification_(
            amplification.defined() ? autograd::constant(amplification).unsqueeze(-1).unsqueeze(-1) : at::Tensor()),
        first_(first),
        columns_(columns),
        relative_(denominator(kind, values_.scaled.unsqueeze(-1), as_columns(values_.scaled)) / values_.unit.size) {
    // Computed from the values, so that tensor subclasses (sharded tensors) give a mask of their own type.
    const auto options = values.options().dtype(at::kBool);
    diagonal_ = at::diag_embed(at::ones_like(columns_of(values), options));
    if (kind != Denominator::value && values.sym_size(-1) != columns) {
      const auto others = at::zeros_like(autograd::constant(relative_), options);
      diagonal_ = at::cat({others.slice_symint(-2, 0, first), diagonal_, others.slice_symint(-2, first + columns)}, -2);
    }
  }

  /// Mask (*, n, c) of the denominators that are zero by definition; an undefined tensor for kinds without them.
  at::Tensor zeros() const {
    return kind_ == Denominator::difference ? diagonal_ : at::Tensor();
  }

  /// Mask (*, n, c) of the pairs that are not resolved.
  at::Tensor close() const {
    const auto dtype = relative_.scalar_type();
    const auto rounding = tolerances::close_gap * tolerances::eps(dtype);
    const auto gaps = autograd::constant(relative_).abs();
    return amplification_.defined()
        ? gaps <= (rounding * amplification_).clamp_max(tolerances::largest_close_gap(dtype))
        : gaps <= rounding;
  }

  /// Mask (*, n, c) of the pairs in one cluster; (*, 1, c) for single values.
  at::Tensor in_one_cluster(const NoiseGate<double>& gate) const {
    const auto gaps = over_amplification(autograd::constant(relative_));
    if (gaps.is_complex()) {
      return linked_by_steps(gaps.abs() <= gate.step).logical_and(gaps.abs() <= gate.reach);
    }
    const auto values = autograd::constant(values_.scaled);
    const auto unit = values_.unit.size.squeeze(-1);
    const auto steps =
        over_amplification(((values.slice(-1, 1) - values.slice(-1, 0, -1)).abs() / unit).unsqueeze(-1)).squeeze(-1);
    const auto first = at::zeros_like(values.slice(-1, 0, 1)).to(at::kLong);
    const auto number = at::cat({first, begins_cluster(steps, gate.step).to(at::kLong)}, -1).cumsum(-1);
    const auto inside = [&](const at::Tensor& i, const at::Tensor& j) {
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
  at::Tensor inverse(const at::Tensor& excluded, const at::Tensor& frozen) const {
    return broadened_inverse()(argument(excluded, frozen));
  }

  /// The derivative of F with respect to the denominators, in units of 1/`unit`^2. Masks are as for `inverse`.
  at::Tensor slope(const at::Tensor& excluded, const at::Tensor& frozen) const {
    return broadened_inverse().derivative(argument(excluded, frozen));
  }

  /// The unit of the denominators (*, 1, 1).
  at::Tensor unit() const {
    return values_.unit.size / values_.unit.headroom;
  }

  /// Divides by the unit.
  at::Tensor over_unit(const at::Tensor& quotients) const {
    return quotients / unit();
  }

  /// Returns the amplification (*, 1, 1); undefined means 1.
  const at::Tensor& amplification() const {
    return amplification_;
  }

 private:
  /// Gaps (*, n, c) in units of the amplified round-off.
  at::Tensor over_amplification(const at::Tensor& gaps) const {
    return amplification_.defined() ? gaps / amplification_ : gaps;
  }

  /// The pairs linked by a chain of up to 16 linked pairs. That is enough for the shortest chain across
  /// `NoiseGate::reach` on a line, because any two consecutive links of it span more than one step.
  static at::Tensor linked_by_steps(const at::Tensor& linked) {
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

  at::Tensor argument(const at::Tensor& excluded, const at::Tensor& frozen) const {
    auto x = relative_;
    if (frozen.defined() && autograd::is_differentiated(x)) {
      x = at::where(frozen, autograd::constant(x), x);
    }
    return excluded.defined() ? at::where(excluded, TensorArithmetic::number_like(1, x), x) : x;
  }

  at::Tensor columns_of(const at::Tensor& x) const {
    return x.sym_size(-1) == columns_ ? x : x.slice_symint(-1, first_, first_ + columns_);
  }

  /// The values, or numbers, x (*, n) of the columns j: (*, 1, c).
  at::Tensor as_columns(const at::Tensor& x) const {
    return columns_of(x).unsqueeze(-2);
  }

  Denominator kind_;
  BroadeningRule<double> rule_;
  ScaledValues values_;
  at::Tensor amplification_; // (*, 1, 1), or undefined
  c10::SymInt first_;
  c10::SymInt columns_;
  at::Tensor relative_; // (*, n, c), in units of `values_.unit`; (*, 1, c) for single values
  at::Tensor diagonal_;
};

} // namespace spectralgrad::math
