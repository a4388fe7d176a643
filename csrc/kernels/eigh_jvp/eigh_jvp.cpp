#include "kernels/eigh_jvp/eigh_jvp.h"

#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_jvp/simd_eigh_jvp.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"
#include "math/pairs/broadening.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty_like.h>

#include <utility>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

template <typename scalar_t>
std::pair<Tensor, Tensor> eigh_jvp_in_lanes(
    const Tensor& given_tangent,
    const Tensor& given_eigenvalues,
    const Tensor& given_eigenvectors,
    const Rule& rule) {
  const auto tangent = by_rows_or_columns(given_tangent);
  const auto L = by_rows(given_eigenvalues);
  const auto V = by_rows_or_columns(given_eigenvectors);
  const auto n = V.size(-1);
  const auto count = V.numel() / (n * n);
  // dV has the strides of V, because forward AD would copy a tangent with other strides.
  auto dL = at::empty_like(L);
  auto dV = at::empty_like(V);
  const simd::EighJvpBatch<scalar_t> batch{
      static_cast<int>(n),
      V.is_complex(),
      L.template const_data_ptr<scalar_t>(),
      matrices<scalar_t>(V),
      matrices<scalar_t>(tangent),
      math::broadening_rule<scalar_t>(rule),
      close_gap<scalar_t>(rule),
      dL.template mutable_data_ptr<scalar_t>(),
      static_cast<scalar_t*>(dV.mutable_data_ptr()),
      !dV.is_contiguous()};
  run_in_lanes(batch, count);
  return {std::move(dL), std::move(dV)};
}

} // namespace

std::pair<Tensor, Tensor> eigh_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  std::pair<Tensor, Tensor> result;
  AT_DISPATCH_FLOATING_TYPES(eigenvalues.scalar_type(), "eigh_jvp", [&] {
    result = eigh_jvp_in_lanes<scalar_t>(tangent, eigenvalues, eigenvectors, rule);
  });
  return result;
}

} // namespace spectralgrad::kernels
