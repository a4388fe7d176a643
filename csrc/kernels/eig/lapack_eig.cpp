#include "kernels/eig/lapack_eig.h"

#include "core/all_finite.h"
#include "core/interruptible.h"
#include "core/lowest_index.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/eig/eig_solver.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace spectralgrad::kernels {

using at::Tensor;

Eig lapack_eig(const Tensor& A, bool compute_vectors, bool sequential) {
  const auto n = A.size(-1);
  const auto leading = A.sizes().slice(0, A.dim() - 1);
  const auto count = c10::multiply_integers(leading) / n;
  const auto matrices = by_rows_or_columns(A);
  const bool by_rows = matrices.is_contiguous();
  const auto options = A.options().dtype(c10::toComplexType(A.scalar_type()));
  const auto eigenvalues = at::empty(leading, options);
  const auto columns = compute_vectors ? at::empty(A.sizes(), options) : Tensor();
  LowestIndex not_finite;
  LowestIndex not_converged;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "lapack_eig", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    using complex_t = c10::complex<real_t>;
    const auto* from = matrices.const_data_ptr<scalar_t>();
    auto* to_values = eigenvalues.mutable_data_ptr<complex_t>();
    auto* to_columns = compute_vectors ? columns.mutable_data_ptr<complex_t>() : nullptr;
    interruptible_parallel_for(count, 25 * n * n * n, [&](int64_t begin, int64_t end) {
      std::optional<SequentialBlas> one_thread;
      if (count > 1 || sequential) {
        one_thread.emplace();
      }
      EigSolver<scalar_t> solver(n, compute_vectors);
      for (auto i = begin; i < end; ++i) {
        const auto* matrix = from + i * n * n;
        auto* values = to_values + i * n;
        auto* V = compute_vectors ? to_columns + i * n * n : nullptr;
        if (!all_finite(matrix, n * n)) {
          constexpr auto nan = std::numeric_limits<real_t>::quiet_NaN();
          std::fill_n(values, n, complex_t(nan, nan));
          std::fill_n(V, compute_vectors ? n * n : 0, complex_t(nan, nan));
          not_finite.found(i);
        } else if (!solver.decompose(matrix, by_rows, values, V)) {
          not_converged.found(i);
        }
      }
    });
  });
  return {eigenvalues, compute_vectors ? columns.mT() : Tensor(), not_finite.value(), not_converged.value()};
}

} // namespace spectralgrad::kernels
