#include "kernels/eigh_vjp_vjp/eigh_vjp_vjp.h"

#include "core/tolerances.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp_vjp/simd_eigh_vjp_vjp.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty_like.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

Tensor result_like(const Tensor& x) {
  return x.defined() ? at::empty_like(x, at::MemoryFormat::Contiguous) : x;
}

template <typename real_t>
real_t* mutable_data_or_null(const Tensor& x) {
  return x.defined() ? static_cast<real_t*>(x.mutable_data_ptr()) : nullptr;
}

} // namespace

std::array<Tensor, 4> eigh_vjp_vjp(const Tensor& given_cotangent, const std::array<Tensor, 4>& x, const Rule& rule) {
  const auto& [gL, gV, L, V] = x;
  const auto cotangent = by_rows_or_columns(given_cotangent);
  const Inputs inputs(gL, gV, L, V);
  std::array<Tensor, 4> results{
      result_like(L),
      result_like(gV),
      gV.defined() ? result_like(L) : Tensor(),
      result_like(V)};
  AT_DISPATCH_FLOATING_TYPES(L.scalar_type(), "eigh_vjp_vjp", [&] {
    const simd::EighVjpVjpBatch<scalar_t> batch{
        cotangent_batch<scalar_t>(inputs, rule),
        matrices<scalar_t>(cotangent),
        close_gap<scalar_t>(rule),
        mutable_data_or_null<scalar_t>(results[0]),
        mutable_data_or_null<scalar_t>(results[1]),
        mutable_data_or_null<scalar_t>(results[2]),
        mutable_data_or_null<scalar_t>(results[3])};
    run_in_lanes(batch, inputs.count);
  });
  return results;
}

} // namespace spectralgrad::kernels
