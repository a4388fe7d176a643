#include "kernels/batch_eigh.h"

#include "kernels/eigh_results.h"
#include "kernels/interruptible.h"
#include "kernels/scratch.h"

#include <ATen/Dispatch.h>

#include <algorithm>

namespace spectralgrad::kernels {

using at::Tensor;
using lanes::EighFindings;

std::tuple<Tensor, Tensor, EighFindings> batch_eigh(const Tensor& A, bool upper, bool compute_eigenvectors) {
  EighResults results(A, compute_eigenvectors);
  const auto n = results.n;
  AT_DISPATCH_FLOATING_TYPES(results.eigenvalues.scalar_type(), "batch_eigh", [&] {
    const auto& kernel = lanes::for_this_machine<lanes::EighKernel<scalar_t>>();
    const lanes::EighBatch<scalar_t> batch{
        static_cast<const scalar_t*>(results.matrices.const_data_ptr()),
        static_cast<int>(n),
        A.is_complex(),
        upper,
        results.eigenvalues.template mutable_data_ptr<scalar_t>(),
        results.template eigenvectors_or_null<scalar_t>()};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex, compute_eigenvectors);
    const int64_t lanes = kernel.lanes;
    interruptible_parallel_for((results.count + lanes - 1) / lanes, n * n * (n + 4), [&](int64_t begin, int64_t end) {
      const Scratch<scalar_t> scratch(workspace);
      EighFindings findings;
      kernel.decompose(batch, begin * lanes, std::min(results.count, end * lanes), scratch.data(), findings);
      results.not_finite.found(findings.not_finite);
      results.not_converged.found(findings.not_converged);
    });
  });
  return results.finish();
}

} // namespace spectralgrad::kernels
