#include "kernels/svd_vjp/svd_vjp.h"

#include "core/tolerances.h"
#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"
#include "kernels/svd_vjp/by_products/svd_vjp_by_products.h"
#include "kernels/svd_vjp/by_products/svd_vjp_inputs.h"
#include "kernels/svd_vjp/simd_svd_vjp.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// A batch (*, rows, columns) or its transpose as (count, rows, columns), contiguous by rows or by columns.
Tensor flat(const Tensor& x, bool transposed) {
  if (!x.defined()) {
    return x;
  }
  const auto plain = by_rows_or_columns(transposed ? x.mT() : x);
  const auto rows = plain.size(-2);
  const auto columns = plain.size(-1);
  const bool by_rows = plain.is_contiguous();
  const auto count = plain.numel() / (rows * columns);
  return plain.as_strided(
      {count, rows, columns},
      {rows * columns, by_rows ? columns : 1, by_rows ? 1 : rows},
      plain.storage_offset());
}

template <typename real_t>
simd::SingularVectorBatch<real_t> singular_vector_batch(const Tensor& x) {
  if (!x.defined()) {
    return {nullptr, false};
  }
  return {static_cast<const real_t*>(x.const_data_ptr()), x.is_contiguous()};
}

SvdGradient svd_vjp_in_lanes(const SvdVjpInputs& inputs, const Rule& rule) {
  const auto count = inputs.left.size(0);
  const auto m = inputs.left.size(1);
  const auto n = inputs.left.size(2);
  auto gradient = inputs.empty_gradient();
  std::atomic<bool> suspicious = false;
  AT_DISPATCH_FLOATING_TYPES(inputs.values.scalar_type(), "svd_vjp", [&] {
    constexpr auto dtype = c10::CppTypeToScalarType<scalar_t>::value;
    const simd::SvdVjpBatch<scalar_t> batch{
        static_cast<int>(m),
        static_cast<int>(n),
        inputs.left.is_complex(),
        inputs.values.const_data_ptr<scalar_t>(),
        row<scalar_t>(inputs.values_cotangent, 0, n),
        singular_vector_batch<scalar_t>(inputs.left),
        singular_vector_batch<scalar_t>(inputs.left_cotangent),
        singular_vector_batch<scalar_t>(inputs.right),
        singular_vector_batch<scalar_t>(inputs.right_cotangent),
        math::broadening_rule<scalar_t>(rule),
        rule.gates(),
        math::noise_gate<scalar_t>(rule),
        checks() != Checks::ignore,
        static_cast<scalar_t>(tolerances::gauge(dtype)),
        static_cast<scalar_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)),
        static_cast<scalar_t*>(gradient.mutable_data_ptr()),
        inputs.is_transposed};
    const auto& kernel = simd::for_this_machine<simd::SvdVjpKernel<scalar_t>>();
    const auto workspace = kernel.workspace(batch.rows, batch.columns, batch.is_complex);
    const auto run = [&](int64_t begin, int64_t end, scalar_t* memory) {
      if (kernel.run(batch, begin, end, memory)) {
        suspicious = true;
      }
    };
    for_each_register<scalar_t>(count, m, kernel.lanes, workspace, run);
  });
  return {std::move(gradient), suspicious};
}

} // namespace

bool supports_svd_vjp(const Tensor& U, const Tensor& Vh) {
  const auto k = std::min(U.size(-2), Vh.size(-1));
  return U.device().is_cpu() && U.numel() > 0 && Vh.numel() > 0 && U.size(-1) == k && Vh.size(-2) == k;
}

SvdGradient svd_vjp(
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
  const auto of_U = [&](const Tensor& x) {
    return flat(x, false);
  };
  // The transpose of V^H is conj(V).
  const auto of_Vh = [&](const Tensor& x) {
    return flat(x, true);
  };
  const SvdVjpInputs inputs{
      is_wide ? of_Vh(Vh) : of_U(U),
      is_wide ? of_Vh(Vh_cotangent) : of_U(U_cotangent),
      is_wide ? of_U(U) : of_Vh(Vh),
      is_wide ? of_U(U_cotangent) : of_Vh(Vh_cotangent),
      by_rows(singular_values),
      singular_values_cotangent.defined() ? by_rows(singular_values_cotangent) : Tensor(),
      is_wide};
  auto traits = batch_traits(U);
  traits.n = std::min(m, n);
  auto result = svd_vjp_in_lanes_is_faster(traits, std::max(m, n)) ? svd_vjp_in_lanes(inputs, rule)
                                                                   : svd_vjp_by_products(inputs, rule);
  auto shape = U.sizes().vec();
  shape.back() = n;
  result.gradient = result.gradient.view(shape);
  return result;
}

} // namespace spectralgrad::kernels
