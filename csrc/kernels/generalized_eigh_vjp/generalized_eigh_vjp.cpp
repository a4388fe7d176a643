#include "kernels/generalized_eigh_vjp/generalized_eigh_vjp.h"

#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/generalized_eigh_vjp/by_products.h"
#include "kernels/generalized_eigh_vjp/simd_generalized_eigh_vjp.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

GeneralizedGradients gradients_in_lanes(
    const Inputs& inputs,
    const Tensor& B_diagonal,
    const Tensor& U,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  const auto gradient = [&](bool is_needed) {
    return is_needed ? at::empty_like(inputs.V, at::MemoryFormat::Contiguous) : Tensor();
  };
  GeneralizedGradients gradients{gradient(needs_A), gradient(needs_B)};
  const bool judged = checks() != Checks::ignore;
  const auto found = judged ? at::empty({inputs.count}, inputs.L.options().dtype(at::kBool)) : Tensor();
  AT_DISPATCH_FLOATING_TYPES(inputs.L.scalar_type(), "generalized_eigh_vjp", [&] {
    const auto matrices_or_null = [](const Tensor& x) {
      return x.defined() ? matrices<scalar_t>(x) : simd::Matrices<scalar_t>{};
    };
    const auto numbers_or_null = [](const Tensor& x) {
      return x.defined() ? static_cast<scalar_t*>(x.mutable_data_ptr()) : nullptr;
    };
    const simd::GeneralizedVjpBatch<scalar_t> batch{
        cotangent_batch<scalar_t>(inputs, rule, found),
        matrices_or_null(U),
        B_diagonal.const_data_ptr<scalar_t>(),
        itype == 2,
        itype == 3,
        itype == 1 ? scalar_t(-1) : scalar_t(1),
        itype == 3 ? scalar_t(1) : scalar_t(-1),
        numbers_or_null(gradients.A),
        numbers_or_null(gradients.B)};
    run_in_lanes(batch, inputs.count);
  });
  if (judged) {
    const auto* begin = found.const_data_ptr<bool>();
    gradients.suspicious = std::any_of(begin, begin + inputs.count, [](bool x) { return x; });
  }
  return gradients;
}

} // namespace

bool supports_generalized_vjp(const Tensor& V) {
  return V.device().is_cpu() && V.numel() > 0;
}

GeneralizedGradients generalized_eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    const Tensor& dual,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  const Inputs inputs(eigenvalues_cotangent, eigenvectors_cotangent, eigenvalues, eigenvectors);
  const auto U = dual.defined() ? by_rows_or_columns(dual) : dual;
  const auto compute = generalized_vjp_in_lanes(batch_traits(inputs.V)) ? gradients_in_lanes
                                                                        : generalized_vjp_by_products;
  return compute(inputs, by_rows(B_diagonal), U, itype, needs_A, needs_B, rule);
}

} // namespace spectralgrad::kernels
