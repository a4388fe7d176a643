#include "kernels/eigh_vjp_jvp/eigh_vjp_jvp.h"

#include "core/tolerances.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp_jvp/simd_eigh_vjp_jvp.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty_like.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

template <typename real_t>
simd::Matrices<real_t> matrices_or_none(const Tensor& x) {
  return x.defined() ? matrices<real_t>(x) : simd::Matrices<real_t>{};
}

} // namespace

Tensor eigh_vjp_jvp(const std::array<Tensor, 4>& tangents, const std::array<Tensor, 4>& x, const Rule& rule) {
  const Inputs inputs(x[0], x[1], x[2], x[3]);
  std::array<Tensor, 4> given;
  for (size_t i = 0; i < given.size(); ++i) {
    if (tangents[i].defined()) {
      given[i] = i % 2 == 0 ? by_rows(tangents[i]) : by_rows_or_columns(tangents[i]);
    }
  }
  auto result = at::empty_like(x[3], at::MemoryFormat::Contiguous);
  AT_DISPATCH_FLOATING_TYPES(x[2].scalar_type(), "eigh_vjp_jvp", [&] {
    const simd::EighVjpJvpBatch<scalar_t> batch{
        cotangent_batch<scalar_t>(inputs, rule),
        row<scalar_t>(given[0], 0, inputs.n),
        matrices_or_none<scalar_t>(given[1]),
        row<scalar_t>(given[2], 0, inputs.n),
        matrices_or_none<scalar_t>(given[3]),
        close_gap<scalar_t>(rule),
        static_cast<scalar_t*>(result.mutable_data_ptr())};
    run_in_lanes(batch, inputs.count);
  });
  return result;
}

} // namespace spectralgrad::kernels
