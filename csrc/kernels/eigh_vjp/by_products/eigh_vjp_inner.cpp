#include "kernels/eigh_vjp/by_products/eigh_vjp_inner.h"

#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/by_products/gap_pairs.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// `eigh_vjp_inner` for inputs with one batch dimension.
template <typename scalar_t>
std::pair<Tensor, math::DifferentiatedQuotient> inner_of_batch(const Inputs& inputs, const Rule& rule) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto W = product(inputs.V.mH(), inputs.gV).contiguous();
  const auto slope = at::empty_like(W);
  const auto factor = at::empty(W.sizes(), inputs.L.options());
  auto* to_slope = slope.template mutable_data_ptr<scalar_t>();
  auto* to_factor = factor.template mutable_data_ptr<real_t>();
  const auto put = [&](const PairPlace& place, real_t pair_factor, scalar_t pair_slope) {
    to_factor[place.above] = pair_factor;
    to_factor[place.below] = -pair_factor;
    to_slope[place.above] = pair_slope;
    to_slope[place.below] = -conjugate(pair_slope);
  };
  const auto [Q, unit] = for_gap_pairs<scalar_t>(inputs, rule, W, put);
  factor.diagonal(0, -2, -1).zero_();
  slope.diagonal(0, -2, -1).zero_();
  return {W, {Q, factor, slope, unit}};
}

} // namespace

std::pair<Tensor, math::DifferentiatedQuotient> eigh_vjp_inner(const std::array<Tensor, 4>& x, const Rule& rule) {
  const auto& [gL, gV, L, V] = x;
  const Inputs inputs(gL, gV, L, V);
  auto [W, pairs] = AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp_inner", [&] {
    return inner_of_batch<scalar_t>(inputs.piece(0, inputs.count), rule);
  });
  auto unit_shape = V.sizes().vec();
  unit_shape.end()[-1] = unit_shape.end()[-2] = 1;
  for (auto* part : {&W, &pairs.quotient, &pairs.factor, &pairs.slope}) {
    *part = part->view(V.sizes());
  }
  pairs.unit = pairs.unit.view(unit_shape);
  return {W, pairs};
}

} // namespace spectralgrad::kernels
