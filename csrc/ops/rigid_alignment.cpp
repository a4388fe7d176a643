#include <spectralgrad/rigid_alignment.h>

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "ops/arguments.h"
#include "ops/polar_factor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad {
namespace {

using at::Tensor;

constexpr const char* function = "rigid_alignment";

void check_points(const Tensor& points, const char* name) {
  ops::check_matrix(function, points, name);
  TORCH_CHECK_VALUE(
      !points.is_complex(),
      "spectralgrad.rigid_alignment: Expected ",
      name,
      " to be float32 or float64, but got ",
      points.scalar_type());
}

/// A cloud and its weights (*, n, 1), which are undefined if all are 1.
struct Cloud {
  Tensor center; // (*, 1, d), 0 for a total weight of 0
  Tensor deviations; // (*, n, d)

  Cloud(const Tensor& points, const Tensor& weights, const Tensor& total) {
    const auto weighted = weights.defined() ? weights * points : points;
    center = weighted.sum({-2}, /*keepdim=*/true) / total;
    deviations = points - center;
    if (points.sym_size(-2) > 0 && points.sym_size(-1) > 0) {
      // Deviations of coincident points are round-off of the mean.
      const auto size = [](const Tensor& x) {
        return autograd::constant(x).abs().amax({-2, -1}, /*keepdim=*/true);
      };
      const auto round_off = tolerances::close_gap * tolerances::eps(points.scalar_type());
      deviations = at::where(size(deviations) <= round_off * size(points), at::zeros_like(deviations), deviations);
    }
  }
};

/// `x`, and 1 where it is 0.
Tensor one_instead_of_zero(const Tensor& x) {
  return at::where(x == 0, at::ones_like(x), x);
}

} // namespace

std::tuple<Tensor, Tensor, Tensor> rigid_alignment(
    const Tensor& source,
    const Tensor& target,
    const std::optional<Tensor>& weights,
    bool scale) {
  check_points(source, "source");
  check_points(target, "target");
  TORCH_CHECK_VALUE(
      source.sym_size(-2) == target.sym_size(-2) && source.sym_size(-1) == target.sym_size(-1),
      "spectralgrad.rigid_alignment: Expected source and target to have as many points of one dimension, but they are ",
      source.sym_size(-2),
      " by ",
      source.sym_size(-1),
      " and ",
      target.sym_size(-2),
      " by ",
      target.sym_size(-1));
  TORCH_CHECK_VALUE(
      source.scalar_type() == target.scalar_type() && (!weights || weights->scalar_type() == source.scalar_type()),
      "spectralgrad.rigid_alignment: Expected source, target and weights to have one dtype, but got ",
      source.scalar_type(),
      " and ",
      target.scalar_type(),
      weights ? c10::str(" and ", weights->scalar_type()) : std::string());
  TORCH_CHECK_VALUE(
      !weights || (weights->dim() >= 1 && weights->sym_size(-1) == source.sym_size(-2)),
      "spectralgrad.rigid_alignment: Expected weights to be (*, n), one for each point, but there are ",
      source.sym_size(-2),
      " points, and the weights have shape ",
      weights ? weights->sym_sizes() : c10::SymIntArrayRef());
  const auto w = weights ? weights->unsqueeze(-1) : Tensor();
  const auto total = one_instead_of_zero(
      (weights ? w : at::ones_like(source.slice(-1, 0, 1))).sum({-2}, /*keepdim=*/true));
  const Cloud from(source, w, total);
  const Cloud to(target, w, total);
  const auto weighted = weights ? w * from.deviations : from.deviations;
  const auto covariance = at::matmul(to.deviations.mT(), weighted);
  const auto [rotation, trace] = ops::polar_factor(function, covariance, /*proper=*/true);
  auto factor = at::ones_like(autograd::recorded_constant(trace));
  if (scale) {
    const auto variance = (weighted * from.deviations).sum({-2, -1});
    factor = at::where(variance == 0, at::ones_like(trace), trace / one_instead_of_zero(variance));
  }
  const auto turned = at::matmul(from.center, rotation.mT());
  auto translation = (to.center - factor.unsqueeze(-1).unsqueeze(-1) * turned).squeeze(-2);
  return {rotation, std::move(translation), std::move(factor)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "rigid_alignment(Tensor source, Tensor target, Tensor? weights=None, bool scale=False) -> "
      "(Tensor rotation, Tensor translation, Tensor scale)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("rigid_alignment", rigid_alignment);
}

} // namespace spectralgrad
