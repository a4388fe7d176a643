#include "kernels/svd/batch_svd.h"

#include "core/lowest_index.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"
#include "kernels/svd/simd_svd.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>

namespace spectralgrad::kernels {

using at::Tensor;

bool fits_svd_in_lanes(int64_t m, int64_t n) {
  return std::min(m, n) >= 1 && std::min(m, n) <= simd::largest_svd_columns && std::max(m, n) <= simd::largest_svd_rows;
}

Svd svd_in_lanes(const Tensor& A, bool compute_vectors) {
  const auto m = A.size(-2);
  const auto n = A.size(-1);
  const auto rows = std::max(m, n);
  const auto columns = std::min(m, n);
  const auto leading = A.sizes().slice(0, A.dim() - 2);
  const auto count = c10::multiply_integers(leading);
  const auto matrices = by_rows_or_columns(A);
  const auto empty = [&](std::initializer_list<int64_t> trailing, at::ScalarType dtype) {
    auto sizes = leading.vec();
    sizes.insert(sizes.end(), trailing);
    return at::empty(sizes, A.options().dtype(dtype));
  };
  const auto dtype = A.scalar_type();
  const auto singular_values = empty({columns}, c10::toRealValueType(dtype));
  const auto U_columns = compute_vectors ? empty({columns, m}, dtype) : Tensor();
  const auto Vh_columns = compute_vectors ? empty({n, columns}, dtype) : Tensor();
  LowestIndex not_finite;
  LowestIndex not_converged;
  AT_DISPATCH_FLOATING_TYPES(singular_values.scalar_type(), "svd_in_lanes", [&] {
    const auto& kernel = simd::for_this_machine<simd::SvdKernel<scalar_t>>();
    const auto data = [](const Tensor& x) {
      return x.defined() ? static_cast<scalar_t*>(x.mutable_data_ptr()) : nullptr;
    };
    const bool is_transposed = m < n;
    const simd::SvdBatch<scalar_t> batch{
        static_cast<const scalar_t*>(matrices.const_data_ptr()),
        static_cast<int>(rows),
        static_cast<int>(columns),
        A.is_complex(),
        matrices.is_contiguous() == is_transposed,
        data(singular_values),
        data(is_transposed ? Vh_columns : U_columns),
        data(is_transposed ? U_columns : Vh_columns),
        is_transposed};
    const auto workspace = kernel.workspace(batch.rows, batch.columns, batch.is_complex);
    for_each_register<scalar_t>(
        count,
        rows,
        kernel.lanes,
        workspace,
        [&](int64_t begin, int64_t end, scalar_t* memory) {
          simd::EighFindings findings;
          kernel.decompose(batch, begin, end, memory, findings);
          not_finite.found(findings.not_finite);
          not_converged.found(findings.not_converged);
        });
  });
  return {
      compute_vectors ? U_columns.mT() : Tensor(),
      singular_values,
      compute_vectors ? Vh_columns.mT() : Tensor(),
      {not_finite.value(), not_converged.value()}};
}

} // namespace spectralgrad::kernels
