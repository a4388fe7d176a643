#include "kernels/generalized_eigh/reduction.h"

#include "kernels/blas/sygst.h"
#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/generalized_eigh/lapack_reduction.h"
#include "kernels/generalized_eigh/simd_reduction.h"
#include "kernels/generalized_eigh/simd_restoration.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// By n alone, because the factor of one method does not fit the other.
bool reduces_in_lanes(const Tensor& A) {
  return reduction_in_lanes(A.size(-1), A.scalar_type());
}

ReducedProblem empty_problem(const Tensor& A) {
  const auto count = A.numel() / (A.size(-1) * A.size(-1));
  return {
      at::empty(A.sizes(), A.options()),
      at::empty(A.sizes(), A.options()),
      at::empty({count}, A.options().dtype(at::kInt))};
}

} // namespace

bool supports_reduction(const Tensor& A) {
  return A.device().is_cpu() && A.numel() > 0 && (reduces_in_lanes(A) || has_sygst());
}

ReducedProblem reduce_problem(const Tensor& A, const Tensor& B, bool upper, int64_t itype) {
  const auto of_A = by_rows(A);
  const auto of_B = by_rows(B);
  auto result = empty_problem(of_A);
  if (!reduces_in_lanes(of_A)) {
    lapack_reduce(of_A, of_B, upper, itype, result);
    return result;
  }
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(A.scalar_type()), "generalized_eigh", [&] {
    const simd::ReductionBatch<scalar_t> batch{
        static_cast<int>(of_A.size(-1)),
        of_A.is_complex(),
        static_cast<const scalar_t*>(of_A.const_data_ptr()),
        static_cast<const scalar_t*>(of_B.const_data_ptr()),
        upper,
        itype != 1,
        static_cast<scalar_t*>(result.factor.mutable_data_ptr()),
        static_cast<scalar_t*>(result.matrix.mutable_data_ptr()),
        result.minors.mutable_data_ptr<int32_t>()};
    run_in_lanes(batch, result.minors.numel());
  });
  return result;
}

Tensor restore_eigenvectors(const Tensor& factor, const Tensor& Y, int64_t itype) {
  if (!reduces_in_lanes(factor)) {
    return lapack_restore(factor, Y, itype);
  }
  const auto vectors = by_rows_or_columns(Y);
  const auto n = factor.size(-1);
  auto rows = at::empty(factor.sizes(), factor.options());
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(factor.scalar_type()), "generalized_eigh", [&] {
    const simd::RestorationBatch<scalar_t> batch{
        static_cast<int>(n),
        factor.is_complex(),
        static_cast<const scalar_t*>(factor.const_data_ptr()),
        matrices<scalar_t>(vectors),
        itype == 3,
        static_cast<scalar_t*>(rows.mutable_data_ptr())};
    run_in_lanes(batch, factor.numel() / (n * n));
  });
  return rows.mT();
}

} // namespace spectralgrad::kernels
