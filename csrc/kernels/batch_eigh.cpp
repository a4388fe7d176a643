#include "kernels/batch_eigh.h"

#include "kernels/interruptible.h"
#include "kernels/lowest_index.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>

namespace spectralgrad::kernels {

using at::Tensor;
using lanes::EighFindings;

std::tuple<Tensor, Tensor, EighFindings> batch_eigh(const Tensor& A, std::string_view UPLO, bool compute_eigenvectors) {
  const auto n = A.size(-1);
  const auto count = c10::multiply_integers(A.sizes().slice(0, A.dim() - 2));
  const auto matrices = A.resolve_conj().resolve_neg().contiguous();
  auto eigenvalues = at::empty(
      A.sizes().slice(0, A.dim() - 1),
      A.options().dtype(c10::toRealValueType(A.scalar_type())));
  const auto vectors = compute_eigenvectors ? at::empty(A.sizes(), A.options()) : Tensor();
  LowestIndex not_finite;
  LowestIndex not_converged;
  AT_DISPATCH_FLOATING_TYPES(eigenvalues.scalar_type(), "batch_eigh", [&] {
    const auto& kernel = lanes::for_this_machine<lanes::EighKernel<scalar_t>>();
    const lanes::EighBatch<scalar_t> batch{
        static_cast<const scalar_t*>(matrices.const_data_ptr()),
        static_cast<int>(n),
        A.is_complex(),
        UPLO == "U" || UPLO == "u",
        eigenvalues.template mutable_data_ptr<scalar_t>(),
        compute_eigenvectors ? static_cast<scalar_t*>(vectors.mutable_data_ptr()) : nullptr};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex, compute_eigenvectors);
    const int64_t lanes = kernel.lanes;
    interruptible_parallel_for((count + lanes - 1) / lanes, n * n * (n + 4), [&](int64_t begin, int64_t end) {
      const auto memory = at::empty(
          {workspace * static_cast<int64_t>(sizeof(scalar_t))},
          at::TensorOptions().dtype(at::kByte));
      EighFindings findings;
      kernel.decompose(
          batch,
          begin * lanes,
          std::min(count, end * lanes),
          static_cast<scalar_t*>(memory.mutable_data_ptr()),
          findings);
      not_finite.found(findings.not_finite);
      not_converged.found(findings.not_converged);
    });
  });
  return {
      std::move(eigenvalues),
      compute_eigenvectors ? vectors.mT() : Tensor(),
      EighFindings{not_finite.value(), not_converged.value()}};
}

} // namespace spectralgrad::kernels
