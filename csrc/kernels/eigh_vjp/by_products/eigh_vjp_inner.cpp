#include "kernels/eigh_vjp/by_products/eigh_vjp_inner.h"

#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/by_products/gap_pairs.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// `eigh_vjp_inner` for inputs with one batch dimension.
template <typename scalar_t>
EighVjpInner inner_of_batch(const Inputs& inputs, const Rule& rule) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = inputs.n;
  const auto W = product(inputs.V.mH(), inputs.gV).contiguous();
  const auto Q = at::empty_like(W);
  const auto slope = at::empty_like(W);
  const auto factor = at::empty(W.sizes(), inputs.L.options());
  const auto unit = at::empty({inputs.count, 1, 1}, inputs.L.options());
  auto* to_Q = Q.template mutable_data_ptr<scalar_t>();
  auto* to_slope = slope.template mutable_data_ptr<scalar_t>();
  auto* to_factor = factor.template mutable_data_ptr<real_t>();
  auto* to_unit = unit.template mutable_data_ptr<real_t>();
  for_gap_pairs<scalar_t>(inputs, rule, W, [&](int64_t matrix, auto& pairs, int64_t first, int64_t last) {
    const auto* gL = row<real_t>(inputs.gL, matrix, n);
    const auto base = matrix * n * n;
    for (auto number = first; number < last; ++number) {
      pairs.for_tile_row(number, [&](int64_t i, int64_t j, const PairQuotient<scalar_t>& pair) {
        const auto above = base + i * n + j;
        const auto below = base + j * n + i;
        to_Q[above] = pair.quotient;
        to_Q[below] = conjugate(pair.quotient);
        to_factor[above] = pair.factor;
        to_factor[below] = -pair.factor;
        to_slope[above] = pair.slope;
        to_slope[below] = -conjugate(pair.slope);
      });
    }
    for (auto i = first * pairs.tile; i < std::min(n, last * pairs.tile); ++i) {
      const auto at = base + i * n + i;
      to_Q[at] = gL == nullptr ? real_t(0) : gL[i];
      to_factor[at] = 0;
      to_slope[at] = 0;
    }
    if (first == 0) {
      to_unit[matrix] = pairs.unit();
    }
  });
  return {W, {Q, factor, slope, unit}};
}

} // namespace

EighVjpInner eigh_vjp_inner(const std::array<Tensor, 4>& x, const Rule& rule) {
  const auto& [gL, gV, L, V] = x;
  const Inputs inputs(gL, gV, L, V);
  auto inner = AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp_inner", [&] {
    return inner_of_batch<scalar_t>(inputs.piece(0, inputs.count), rule);
  });
  auto unit_shape = V.sizes().vec();
  unit_shape.end()[-1] = unit_shape.end()[-2] = 1;
  for (auto* part : {&inner.W, &inner.pairs.quotient, &inner.pairs.factor, &inner.pairs.slope}) {
    *part = part->view(V.sizes());
  }
  inner.pairs.unit = inner.pairs.unit.view(unit_shape);
  return inner;
}

} // namespace spectralgrad::kernels
