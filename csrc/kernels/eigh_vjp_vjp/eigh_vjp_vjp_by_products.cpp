#include "kernels/eigh_vjp_vjp/eigh_vjp_vjp_by_products.h"

#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/by_products/gap_pairs.h"
#include "kernels/eigh_vjp/by_products/hermitian_product.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>

// math/eigh_vjp.h has the formulas and the names.
namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// The results of the pass over the pairs, each with one batch dimension.
struct PassResults {
  Tensor Q; // diag(g_lambda) + F o S
  Tensor Z; // F o T
  Tensor of_eigenvalues;
};

template <typename scalar_t>
PassResults pass_over_pairs(const Inputs& inputs, const Rule& rule, const Tensor& W, const Tensor& T) {
  using real_t = typename RealOf<scalar_t>::type;
  using Pairs = GapPairs<scalar_t>;
  const auto n = inputs.n;
  const auto tiles = Pairs::tiles(n);
  const auto Z = at::empty_like(W);
  // The sums of each row of tiles are kept apart, so that the result does not depend on the number of threads.
  const auto sums = at::zeros({inputs.count, tiles, n}, inputs.L.options());
  const auto* from_T = T.template const_data_ptr<scalar_t>();
  auto* to_Z = Z.template mutable_data_ptr<scalar_t>();
  auto* to_sums = sums.template mutable_data_ptr<real_t>();
  const auto put = [&](const PairPlace& place, real_t factor, scalar_t slope) {
    const auto t = from_T[place.above];
    const auto z = t * factor;
    to_Z[place.above] = z;
    to_Z[place.below] = -conjugate(z);
    const auto of_gap = 2 * real_part(conjugate(t) * slope);
    auto* sum = to_sums + (place.matrix * tiles + place.i / Pairs::tile) * n;
    sum[place.i] -= of_gap;
    sum[place.j] += of_gap;
  };
  const auto [Q, unit] = for_gap_pairs<scalar_t>(inputs, rule, W, put);
  Z.diagonal(0, -2, -1).zero_();
  return {Q, Z, sums.sum({-2}) / unit.squeeze(-1)};
}

/// `eigh_vjp_vjp_by_products` for inputs with one batch dimension.
template <typename scalar_t>
std::array<Tensor, 4> vjp_vjp_of_batch(const Tensor& G, const Inputs& inputs, const Rule& rule) {
  const auto& V = inputs.V;
  const auto V_H = V.mH().resolve_conj();
  const auto T = product(V_H, product(G, V)).contiguous();
  make_hermitian(T, /*from_upper=*/false);
  const auto W = product(V_H, inputs.gV).contiguous();
  const auto [Q, Z, of_eigenvalues] = pass_over_pairs<scalar_t>(inputs, rule, W, T);
  const auto turned = product(T, Q);
  subtract_product(turned, 2, W, Z);
  return {
      at::real(T.diagonal(0, -2, -1)).contiguous(),
      product(V, Z).contiguous(),
      of_eigenvalues,
      product(V, turned).contiguous()};
}

} // namespace

std::array<Tensor, 4> eigh_vjp_vjp_by_products(
    const Tensor& cotangent,
    const std::array<Tensor, 4>& x,
    const Rule& rule) {
  const auto& [gL, gV, L, V] = x;
  const Inputs inputs(gL, gV, L, V);
  auto results = AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp_vjp", [&] {
    const auto G = by_rows_or_columns(cotangent).reshape({inputs.count, inputs.n, inputs.n});
    return vjp_vjp_of_batch<scalar_t>(G, inputs.piece(0, inputs.count), rule);
  });
  for (const size_t i : {0, 2}) {
    results[i] = results[i].view(L.sizes());
  }
  for (const size_t i : {1, 3}) {
    results[i] = results[i].view(V.sizes());
  }
  return results;
}

} // namespace spectralgrad::kernels
