#include "kernels/polar/polar.h"

#include "core/tolerances.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/polar/simd_polar.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::kernels {

using at::Tensor;

namespace {

Tensor by_rows_if_defined(const Tensor& x) {
  return x.defined() ? by_rows(x) : x;
}

int64_t number_of_matrices(const Tensor& A) {
  return A.numel() / (A.size(-1) * A.size(-1));
}

} // namespace

bool polar_goes_to_lanes(const Tensor& A) {
  return A.device().is_cpu() && A.numel() > 0 && A.size(-2) == A.size(-1) && pass_in_lanes(batch_traits(A));
}

PolarFactorParts polar_factor(
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    const Tensor& noise,
    bool proper) {
  const auto left = by_rows_or_columns(U);
  const auto right = by_rows_or_columns(Vh);
  const auto values = by_rows(singular_values);
  const auto floor = by_rows_if_defined(noise);
  const auto n = left.size(-1);
  const PolarFactorParts parts{
      at::empty(left.sizes(), left.options()),
      at::empty(left.sizes().slice(0, left.dim() - 2), values.options()),
      at::empty(values.sizes(), values.options()),
      at::empty(left.sizes(), left.options())};
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "polar_factor", [&] {
    const simd::PolarFactorBatch<scalar_t> batch{
        static_cast<int>(n),
        left.is_complex(),
        proper,
        matrices<scalar_t>(left),
        matrices<scalar_t>(right),
        values.const_data_ptr<scalar_t>(),
        floor.defined() ? floor.const_data_ptr<scalar_t>() : nullptr,
        static_cast<scalar_t*>(parts.W.mutable_data_ptr()),
        parts.trace.mutable_data_ptr<scalar_t>(),
        parts.values.mutable_data_ptr<scalar_t>(),
        static_cast<scalar_t*>(parts.vectors.mutable_data_ptr())};
    run_in_lanes(batch, number_of_matrices(left));
  });
  return parts;
}

PolarVjp polar_vjp(
    const Tensor& given_W_cotangent,
    const Tensor& given_trace_cotangent,
    const Tensor& given_W,
    const Tensor& given_values,
    const Tensor& given_vectors,
    bool proper) {
  const auto W_cotangent = given_W_cotangent.defined() ? by_rows_or_columns(given_W_cotangent) : given_W_cotangent;
  const auto trace_cotangent = by_rows_if_defined(given_trace_cotangent);
  const auto W = by_rows_or_columns(given_W);
  const auto V = by_rows_or_columns(given_vectors);
  const auto values = by_rows(given_values);
  auto gradient = at::empty(W.sizes(), W.options());
  const auto vanishes = at::empty({number_of_matrices(W)}, W.options().dtype(at::kBool));
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "polar_vjp", [&] {
    const simd::PolarVjpBatch<scalar_t> batch{
        static_cast<int>(W.size(-1)),
        W.is_complex(),
        proper,
        static_cast<scalar_t>(tolerances::close_gap * tolerances::eps(values.scalar_type())),
        matrices<scalar_t>(W),
        matrices<scalar_t>(V),
        values.const_data_ptr<scalar_t>(),
        W_cotangent.defined() ? matrices<scalar_t>(W_cotangent) : simd::Matrices<scalar_t>{},
        trace_cotangent.defined() ? trace_cotangent.const_data_ptr<scalar_t>() : nullptr,
        static_cast<scalar_t*>(gradient.mutable_data_ptr()),
        vanishes.mutable_data_ptr<bool>()};
    run_in_lanes(batch, number_of_matrices(W));
  });
  return {gradient, vanishes.any().item<bool>()};
}

} // namespace spectralgrad::kernels
