#include "math/svd_cotangents.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/pairs/judge_singular_vectors.h"
#include "math/pairs/pairs.h"
#include "math/sum_of_defined.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;

/// The largest |R_ij| of each column j (*, k) that is no round-off compared to N_ij, else 0. A constant.
Tensor significant_outer(const SideCotangent& side) {
  const auto size = constant(side.outer).abs();
  const auto significant = size > tolerances::gauge(size.scalar_type()) * side.outer_magnitude;
  return at::where(significant, size, at::zeros_like(size)).amax({-2});
}

} // namespace

Tensor SideCotangent::divided_outer(const Tensor& singular_values, const Tensor& largest, const Rule& rule) const {
  return divide_cotangent(outer, {outer_magnitude, largest}, singular_values, Denominator::value, rule);
}

SvdCotangents::SvdCotangents(
    const SideCotangent& of_U,
    const SideCotangent& of_V,
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& V_cotangent,
    const Tensor& singular_values)
    : together(sum_of_defined(of_U.inner, of_V.inner)),
      against(difference_of_defined(of_U.inner, of_V.inner)),
      magnitude(sum_of_defined(of_U.magnitude, of_V.magnitude)) {
  // Only one side has a part outside its range, because A has as many rows or columns as it has singular values.
  const auto& outer_side = of_U.outer.defined() ? of_U : of_V;
  diagonal = judge_singular_vectors(
      singular_values_cotangent,
      together,
      against,
      magnitude,
      outer_side.outer.defined() ? significant_outer(outer_side) : Tensor(),
      singular_values);
  if (!magnitude.defined()) {
    return;
  }
  largest = cotangent_scale(singular_values, singular_values_cotangent, U_cotangent);
  if (V_cotangent.defined()) {
    largest = at::maximum(largest, cotangent_scale(singular_values, {}, V_cotangent));
  }
}

} // namespace spectralgrad::math
