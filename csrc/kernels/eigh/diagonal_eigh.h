#pragma once

#include "kernels/eigh/hermitian_matrix.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace spectralgrad::kernels {

/// Decomposes the diagonal matrix `A` by sorting. LAPACK takes almost no time for these matrices, so the other methods
/// must not decompose them, either. The results are exact and do not depend on the method for the other matrices of the
/// batch.
///
/// Writes the diagonal to `eigenvalues` (n) in ascending order and, unless null, the unit vectors in the same order to
/// the rows of `eigenvectors` (n, n).
template <typename scalar_t>
void diagonal_eigh(
    const HermitianMatrix<scalar_t>& A,
    typename RealOf<scalar_t>::type* eigenvalues,
    scalar_t* eigenvectors) {
  std::vector<int64_t> order(static_cast<size_t>(A.n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return A.diagonal(i) < A.diagonal(j); });
  if (eigenvectors != nullptr) {
    std::fill_n(eigenvectors, A.n * A.n, scalar_t(0));
  }
  for (int64_t i = 0; i < A.n; ++i) {
    const auto from = order[static_cast<size_t>(i)];
    eigenvalues[i] = A.diagonal(from) + 0; // -0 becomes 0
    if (eigenvectors != nullptr) {
      eigenvectors[i * A.n + from] = 1;
    }
  }
}

} // namespace spectralgrad::kernels
