#pragma once

#include "core/interruptible.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/eigh/diagonal_eigh.h"
#include "kernels/eigh/eigh_results.h"
#include "kernels/eigh/hermitian_matrix.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

namespace spectralgrad::kernels {

enum class Outcome { decomposed, not_finite, not_converged };

/// Decomposes the matrices of `results`, each by one thread, or one after the other if the solver uses several threads
/// for a matrix. Diagonal matrices are only sorted. For the others, `Solver(n, vectors)`, one for each thread, has a
/// function solve(matrix, eigenvalues, eigenvectors), which returns the outcome. It writes results only if that is
/// `decomposed`; those of a matrix with a non-finite entry become NaN.
template <typename Solver, typename scalar_t>
void decompose_one_by_one(EighResults& results, bool upper, bool one_after_the_other = false) {
  using real_t = typename RealOf<scalar_t>::type;
  constexpr auto nan = std::numeric_limits<real_t>::quiet_NaN();
  const auto n = results.n;
  const auto* from = results.matrices.template const_data_ptr<scalar_t>();
  auto* values = results.eigenvalues.template mutable_data_ptr<real_t>();
  auto* to = results.template eigenvectors_or_null<scalar_t>();
  const auto decompose = [&](int64_t begin, int64_t end) {
    const SequentialBlas sequential;
    std::optional<Solver> solver;
    for (auto i = begin; i < end; ++i) {
      if (one_after_the_other && i > begin) {
        check_interrupt();
      }
      auto* vectors = to == nullptr ? nullptr : to + i * n * n;
      const HermitianMatrix<scalar_t> matrix{from + i * n * n, n, upper};
      if (matrix.is_diagonal()) {
        diagonal_eigh(matrix, values + i * n, vectors);
        continue;
      }
      if (!solver) {
        solver.emplace(n, to != nullptr);
      }
      const auto outcome = solver->solve(matrix, values + i * n, vectors);
      if (outcome == Outcome::not_finite) {
        std::fill_n(values + i * n, n, nan);
        std::fill_n(vectors, vectors == nullptr ? 0 : n * n, scalar_t(nan));
        results.not_finite.found(i);
      } else if (outcome == Outcome::not_converged) {
        results.not_converged.found(i);
      }
    }
  };
  if (one_after_the_other) {
    decompose(0, results.count);
  } else {
    interruptible_parallel_for(results.count, n * n * n, decompose);
  }
}

} // namespace spectralgrad::kernels
