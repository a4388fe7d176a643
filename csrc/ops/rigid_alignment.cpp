#include <spectralgrad/rigid_alignment.h>

#include "autograd/constant.h"
#include "ops/arguments.h"
#include "ops/point_moments.h"
#include "ops/polar_factor.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace spectralgrad {
namespace {

using at::Tensor;

constexpr const char* rigid_alignment_name = "rigid_alignment";

void check_points(const Tensor& points, const char* name) {
  ops::check_matrix(rigid_alignment_name, points, name);
  TORCH_CHECK_VALUE(
      !points.is_complex(),
      "spectralgrad.rigid_alignment: Expected ",
      name,
      " to be float32 or float64, but got ",
      points.scalar_type());
}

/// Repeats `x` over the shape `batch`, if it does not have it. Its last `trailing` dimensions do not count.
Tensor over_batch(const Tensor& x, c10::SymIntArrayRef batch, int64_t trailing) {
  const auto shape = x.sym_sizes();
  const auto split = x.dim() - trailing;
  if (shape.slice(0, split) == batch) {
    return x;
  }
  auto sizes = batch.vec();
  sizes.insert(sizes.end(), shape.begin() + split, shape.end());
  return x.expand_symint(sizes);
}

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
  TORCH_CHECK_VALUE(
      source.sym_size(-2) > 0 && source.sym_size(-1) > 0,
      "spectralgrad.rigid_alignment: Expected at least one point of at least one dimension, but the clouds are ",
      source.sym_size(-2),
      " by ",
      source.sym_size(-1));
  const auto batch_of = [](const Tensor& x, int64_t trailing) {
    return x.sym_sizes().slice(0, x.dim() - trailing);
  };
  auto batch = at::infer_size_symint(batch_of(source, 2), batch_of(target, 2));
  if (weights) {
    batch = at::infer_size_symint(batch, batch_of(*weights, 1));
  }
  const auto moments = ops::point_moments(
      over_batch(source, batch, 2),
      over_batch(target, batch, 2),
      weights ? over_batch(*weights, batch, 1) : Tensor());
  const auto [rotation, trace] =
      ops::polar_factor(rigid_alignment_name, moments.covariance, /*proper=*/true, moments.noise);
  auto factor = at::ones_like(autograd::recorded_constant(trace));
  if (scale) {
    const auto units = moments.units.select(-1, 1) / moments.units.select(-1, 0);
    const auto fitted = trace / one_instead_of_zero(moments.variance) * units;
    factor = at::where(moments.variance == 0, at::ones_like(trace), fitted);
  }
  // In a batch of one, because LibTorch multiplies a single matrix with a vector by another routine, which rounds
  // differently.
  const auto turned = at::matmul(rotation.unsqueeze(0), moments.source_center.unsqueeze(0).unsqueeze(-1));
  auto translation = moments.target_center - factor.unsqueeze(-1) * turned.squeeze(-1).squeeze(0);
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
