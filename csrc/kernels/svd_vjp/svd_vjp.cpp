#include "kernels/svd_vjp/svd_vjp.h"

#include "core/tolerances.h"
#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"
#include "kernels/svd_vjp/simd_svd_vjp.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Describes `x`, which `by_rows_or_columns` returned, or its transpose.
template <typename real_t>
simd::SingularVectorBatch<real_t> describe(const Tensor& x, bool transposed, bool conjugated) {
  if (!x.defined()) {
    return {nullptr, false, false};
  }
  return {static_cast<const real_t*>(x.const_data_ptr()), x.is_contiguous() != transposed, conjugated};
}

Tensor plain_or_undefined(const Tensor& x) {
  return x.defined() ? by_rows_or_columns(x) : x;
}

} // namespace

bool svd_vjp_goes_to_lanes(const Tensor& U, const Tensor& Vh) {
  const auto m = U.size(-2);
  const auto n = Vh.size(-1);
  const auto k = std::min(m, n);
  if (U.numel() == 0 || Vh.numel() == 0 || U.size(-1) != k || Vh.size(-2) != k) {
    return false;
  }
  auto traits = batch_traits(U);
  traits.n = k;
  return svd_vjp_in_lanes_is_faster(traits, std::max(m, n));
}

SvdGradient svd_vjp_in_lanes(
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& Vh_cotangent,
    const Tensor& U,
    const Tensor& singular_values,
    const Tensor& Vh,
    const Rule& rule) {
  const auto m = U.size(-2);
  const auto n = Vh.size(-1);
  const bool is_wide = m < n;
  const auto gU = plain_or_undefined(U_cotangent);
  const auto gVh = plain_or_undefined(Vh_cotangent);
  const auto g_sigma = singular_values_cotangent.defined() ? by_rows(singular_values_cotangent) : Tensor();
  const auto left = by_rows_or_columns(U);
  const auto right = by_rows_or_columns(Vh);
  const auto sigma = by_rows(singular_values);
  auto shape = U.sizes().vec();
  shape.back() = n;
  auto gradient = at::empty(shape, U.options());
  const auto count = c10::multiply_integers(U.sizes().slice(0, U.dim() - 2));
  std::atomic<bool> suspicious = false;
  AT_DISPATCH_FLOATING_TYPES(sigma.scalar_type(), "svd_vjp", [&] {
    constexpr auto dtype = c10::CppTypeToScalarType<scalar_t>::value;
    const auto of_U = describe<scalar_t>(left, false, false);
    const auto of_gU = describe<scalar_t>(gU, false, false);
    const auto of_V = describe<scalar_t>(right, true, true);
    const auto of_gV = describe<scalar_t>(gVh, true, true);
    const simd::SvdVjpBatch<scalar_t> batch{
        static_cast<int>(std::max(m, n)),
        static_cast<int>(std::min(m, n)),
        U.is_complex(),
        sigma.const_data_ptr<scalar_t>(),
        row<scalar_t>(g_sigma, 0, 0),
        is_wide ? of_V : of_U,
        is_wide ? of_gV : of_gU,
        is_wide ? of_U : of_V,
        is_wide ? of_gU : of_gV,
        math::broadening_rule<scalar_t>(rule),
        rule.gates(),
        math::noise_gate<scalar_t>(rule),
        checks() != Checks::ignore,
        static_cast<scalar_t>(tolerances::gauge(dtype)),
        static_cast<scalar_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)),
        static_cast<scalar_t*>(gradient.mutable_data_ptr()),
        is_wide};
    const auto& kernel = simd::for_this_machine<simd::SvdVjpKernel<scalar_t>>();
    const auto workspace = kernel.workspace(batch.rows, batch.columns, batch.is_complex);
    for_each_register<scalar_t>(
        count,
        batch.rows,
        kernel.lanes,
        workspace,
        [&](int64_t begin, int64_t end, scalar_t* memory) {
          if (kernel.run(batch, begin, end, memory)) {
            suspicious = true;
          }
        });
  });
  return {std::move(gradient), suspicious};
}

} // namespace spectralgrad::kernels
