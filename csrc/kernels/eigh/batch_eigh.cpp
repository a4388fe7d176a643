#include "kernels/eigh/batch_eigh.h"

#include "core/scalar_traits.h"
#include "kernels/eigh/diagonal_eigh.h"
#include "kernels/eigh/eigh_results.h"
#include "kernels/eigh/simd_eigh.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <vector>

namespace spectralgrad::kernels {

using at::Tensor;
using simd::EighFindings;

namespace {

/// From this n on, diagonal matrices are sorted instead of decomposed. For smaller n, the search for them would take
/// as long as the decomposition.
constexpr int64_t diagonal_from = 5;

/// Decomposes matrices begin <= i < end: diagonal ones by sorting, the others with `decompose(first, last)`, in
/// registers of `at_once` matrices.
template <typename scalar_t, typename Decompose>
void decompose_unless_diagonal(
    const EighResults& results,
    bool upper,
    int64_t begin,
    int64_t end,
    int64_t at_once,
    const Decompose& decompose) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = results.n;
  const auto matrix = [&, from = static_cast<const scalar_t*>(results.matrices.const_data_ptr())](int64_t i) {
    return HermitianMatrix<scalar_t>{from + i * n * n, n, upper};
  };
  auto* values = static_cast<real_t*>(results.eigenvalues.mutable_data_ptr());
  auto* vectors = results.template eigenvectors_or_null<scalar_t>();
  std::vector<int64_t> diagonal;
  for (auto i = begin; i < end && n >= diagonal_from; ++i) {
    if (matrix(i).is_diagonal()) {
      diagonal.push_back(i);
    }
  }
  if (diagonal.empty()) {
    decompose(begin, end);
    return;
  }
  // A register is skipped if all its matrices are diagonal. Otherwise sorting overwrites the results of diagonal ones.
  auto next = diagonal.begin();
  for (auto first = begin; first < end; first += at_once) {
    const auto last = std::min(end, first + at_once);
    const auto after = std::lower_bound(next, diagonal.end(), last);
    if (after - next < last - first) {
      decompose(first, last);
    }
    for (; next != after; ++next) {
      diagonal_eigh(matrix(*next), values + *next * n, vectors == nullptr ? nullptr : vectors + *next * n * n);
    }
  }
}

} // namespace

std::tuple<Tensor, Tensor, EighFindings> batch_eigh(const Tensor& A, bool upper, bool compute_eigenvectors) {
  EighResults results(A, compute_eigenvectors);
  const auto n = results.n;
  AT_DISPATCH_FLOATING_TYPES(results.eigenvalues.scalar_type(), "batch_eigh", [&] {
    const auto& kernel = simd::for_this_machine<simd::EighKernel<scalar_t>>();
    const simd::EighBatch<scalar_t> batch{
        static_cast<const scalar_t*>(results.matrices.const_data_ptr()),
        static_cast<int>(n),
        A.is_complex(),
        upper,
        results.eigenvalues.template mutable_data_ptr<scalar_t>(),
        results.template eigenvectors_or_null<scalar_t>()};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex, compute_eigenvectors);
    const int64_t lanes = kernel.lanes;
    for_each_register<scalar_t>(results.count, n, lanes, workspace, [&](int64_t begin, int64_t end, scalar_t* memory) {
      EighFindings findings;
      const auto decompose = [&](int64_t first, int64_t last) {
        kernel.decompose(batch, first, last, memory, findings);
      };
      if (batch.is_complex) {
        decompose_unless_diagonal<c10::complex<scalar_t>>(results, upper, begin, end, lanes, decompose);
      } else {
        decompose_unless_diagonal<scalar_t>(results, upper, begin, end, lanes, decompose);
      }
      results.not_finite.found(findings.not_finite);
      results.not_converged.found(findings.not_converged);
    });
  });
  return results.finish();
}

} // namespace spectralgrad::kernels
