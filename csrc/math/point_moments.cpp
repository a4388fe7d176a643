#include "math/point_moments.h"

#include "core/tolerances.h"
#include "math/sum_of_defined.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/frexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <tuple>

namespace spectralgrad::math {
namespace {

using at::Tensor;

Tensor one_instead_of_zero(const Tensor& x) {
  return at::where(x == 0, at::ones_like(x), x);
}

/// The unit for numbers up to x >= 0: 1 if none is needed, else a power of two near x whose inverse is a number.
Tensor unit_for(const Tensor& x) {
  constexpr auto largest = tolerances::largest_without_unit;
  const auto one = at::ones_like(x);
  const auto positive = at::where(x == 0, one, x);
  const auto power = positive / (2 * std::get<0>(at::frexp(positive)));
  const auto smallest = x.scalar_type() == at::kDouble ? std::numeric_limits<double>::min()
                                                       : std::numeric_limits<float>::min();
  const auto needed = (positive > largest).logical_or(positive < 1 / largest);
  return at::where(needed, power.clamp_min(smallest), one);
}

/// Points in their units, and their weights.
struct Scaled {
  Tensor source_unit; // (*, 1, 1)
  Tensor target_unit; // (*, 1, 1)
  Tensor weight_unit; // (*, 1)
  Tensor w; // (*, n); undefined if all are 1
  Tensor total; // (*, 1); undefined without weights
  c10::SymInt count;
  Tensor x; // deviations (*, n, d)
  Tensor y;

  Scaled(
      const Tensor& source,
      const Tensor& target,
      const Tensor& weights,
      const Tensor& source_center,
      const Tensor& target_center,
      const Tensor& units)
      : source_unit(units.narrow(-1, 0, 1).unsqueeze(-1)),
        target_unit(units.narrow(-1, 1, 1).unsqueeze(-1)),
        weight_unit(units.narrow(-1, 2, 1)),
        count(source.sym_size(-2)),
        x((source - source_center.unsqueeze(-2)) / source_unit),
        y((target - target_center.unsqueeze(-2)) / target_unit) {
    if (weights.defined()) {
      w = weights / weight_unit;
      total = one_instead_of_zero(w.sum({-1}, /*keepdim=*/true));
    }
  }

  Tensor over_total(const Tensor& z) const {
    return total.defined() ? z / total : z / count;
  }
  /// w_i z_i for z (*, n, k)
  Tensor weighted(const Tensor& z) const {
    return w.defined() ? w.unsqueeze(-1) * z : z;
  }
};

} // namespace

PointMoments point_moments(const Tensor& source, const Tensor& target, const Tensor& weights) {
  const auto weight_unit = weights.defined() ? unit_for(weights.amax({-1}, /*keepdim=*/true))
                                             : at::ones_like(source.select(-1, 0).narrow(-1, 0, 1));
  const auto w = weights.defined() ? weights / weight_unit : Tensor();
  const auto total = weights.defined() ? w.sum({-1}, /*keepdim=*/true)
                                       : at::ones_like(weight_unit) * static_cast<double>(source.size(-2));
  const auto shares = weights.defined() ? (w / one_instead_of_zero(total)).unsqueeze(-1) : Tensor();
  const auto center = [&](const Tensor& points) {
    return weights.defined() ? (shares * points).sum({-2}) : points.mean({-2});
  };
  // Points without weight do not count.
  const auto size = [&](const Tensor& z) {
    const auto absolute = z.abs();
    const auto counted = weights.defined() ? at::where((w > 0).unsqueeze(-1), absolute, at::zeros_like(absolute))
                                           : absolute;
    return counted.amax({-2, -1}).unsqueeze(-1);
  };
  const auto a = center(source);
  const auto b = center(target);
  const auto source_size = size(source - a.unsqueeze(-2));
  const auto target_size = size(target - b.unsqueeze(-2));
  const auto units = at::cat({unit_for(source_size), unit_for(target_size), weight_unit}, -1);
  const Scaled scaled(source, target, weights, a, b, units);
  const auto weighted = scaled.weighted(scaled.x);
  // The deviations have the round-off of the points.
  const auto round_off = tolerances::close_gap * tolerances::eps(source.scalar_type());
  const auto source_noise = round_off * size(source);
  const auto target_noise = round_off * size(target);
  const auto unit = [&](int64_t i) {
    return units.narrow(-1, i, 1);
  };
  const auto noise = total *
      ((source_noise / unit(0)) * (target_size / unit(1)) + (target_noise / unit(1)) * (source_size / unit(0)));
  const auto variance = (weighted * scaled.x).sum({-2, -1});
  return {
      a,
      b,
      at::matmul(scaled.y.mT(), weighted),
      at::where((source_size <= source_noise).squeeze(-1), at::zeros_like(variance), variance),
      noise.squeeze(-1),
      units};
}

std::array<Tensor, 3> point_moments_vjp(
    const std::array<Tensor, 4>& cotangents,
    const Tensor& source,
    const Tensor& target,
    const Tensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units) {
  const Scaled p(source, target, weights, source_center, target_center, units);
  // The centers' parts of the covariance and of the variance vanish, because sum w x' = sum w y' = 0.
  const auto& [a_cotangent, b_cotangent, C_cotangent, variance_cotangent] = cotangents;
  Tensor of_source;
  Tensor of_target;
  Tensor of_weights;
  if (C_cotangent.defined()) {
    of_source = at::matmul(p.y, C_cotangent);
    of_target = at::matmul(p.x, C_cotangent.mT()) / p.target_unit;
    of_weights = (of_source * p.x).sum({-1});
  }
  if (variance_cotangent.defined()) {
    const auto g = variance_cotangent.unsqueeze(-1);
    of_source = sum_of_defined(of_source, 2 * g.unsqueeze(-1) * p.x);
    of_weights = sum_of_defined(of_weights, g * p.x.square().sum({-1}));
  }
  if (of_source.defined()) {
    of_source = of_source / p.source_unit;
  }
  const auto add_center =
      [&](const Tensor& cotangent, const Tensor& deviations, const Tensor& unit, Tensor& of_points) {
        if (cotangent.defined()) {
          const auto g = p.over_total(cotangent).unsqueeze(-2);
          of_points = sum_of_defined(of_points, g);
          if (weights.defined()) {
            of_weights = sum_of_defined(of_weights, (deviations * (g * unit)).sum({-1}));
          }
        }
      };
  add_center(a_cotangent, p.x, p.source_unit, of_source);
  add_center(b_cotangent, p.y, p.target_unit, of_target);
  const auto of_points = [&](const Tensor& gradient, const Tensor& points) {
    return gradient.defined() ? p.weighted(gradient).expand_symint(points.sym_sizes()) : at::zeros_like(points);
  };
  return {
      of_points(of_source, source),
      of_points(of_target, target),
      !weights.defined()         ? Tensor()
          : of_weights.defined() ? of_weights / p.weight_unit
                                 : at::zeros_like(weights)};
}

std::array<Tensor, 4> point_moments_jvp(
    const std::array<Tensor, 3>& tangents,
    const Tensor& source,
    const Tensor& target,
    const Tensor& weights,
    const Tensor& source_center,
    const Tensor& target_center,
    const Tensor& units) {
  const Scaled p(source, target, weights, source_center, target_center, units);
  const auto dx = tangents[0].defined() ? p.weighted(tangents[0] / p.source_unit) : Tensor();
  const auto dy = tangents[1].defined() ? p.weighted(tangents[1] / p.target_unit) : Tensor();
  const auto dw = tangents[2].defined() ? (tangents[2] / p.weight_unit).unsqueeze(-1) : Tensor();
  std::array<Tensor, 4> result;
  const auto center = [&](const Tensor& tangent, const Tensor& deviations, const Tensor& unit) {
    const auto terms = sum_of_defined(tangent, dw.defined() ? dw * deviations : Tensor());
    return terms.defined() ? p.over_total(terms.sum({-2}) * unit.squeeze(-1)) : Tensor();
  };
  result[0] = center(dx, p.x, p.source_unit);
  result[1] = center(dy, p.y, p.target_unit);
  if (dx.defined()) {
    result[2] = at::matmul(p.y.mT(), dx);
    result[3] = 2 * (dx * p.x).sum({-2, -1});
  }
  if (dy.defined()) {
    result[2] = sum_of_defined(result[2], at::matmul(dy.mT(), p.x));
  }
  if (dw.defined()) {
    result[2] = sum_of_defined(result[2], at::matmul(p.y.mT(), dw * p.x));
    result[3] = sum_of_defined(result[3], (dw * p.x.square()).sum({-2, -1}));
  }
  return result;
}

} // namespace spectralgrad::math
