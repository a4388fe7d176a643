#pragma once

#include "core/scalar_traits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

// The decomposition of diagonal matrices by sorting.
//
// LAPACK takes almost no time for these matrices, so the other methods must not decompose them, either. The results are
// exact and do not depend on the method for the other matrices of the batch.
namespace spectralgrad::kernels {

/// Whether the row-major matrix `A` (n, n), of which one triangle is read, is zero off the diagonal and finite on it.
template <typename scalar_t>
bool is_diagonal(const scalar_t* A, int64_t n, bool upper) {
  using real_t = typename RealOf<scalar_t>::type;
  constexpr auto parts = parts_of<scalar_t>;
  const auto* numbers = reinterpret_cast<const real_t*>(A);
  for (int64_t i = 0; i < n; ++i) {
    const auto* row = numbers + i * n * parts;
    const auto end = (upper ? n : i) * parts;
    bool nothing = std::isfinite(row[i * parts]);
    for (int64_t j = (upper ? i + 1 : 0) * parts; j < end; ++j) {
      nothing &= row[j] == 0;
    }
    if (!nothing) {
      return false;
    }
  }
  return true;
}

/// Writes the diagonal of `A` to `eigenvalues` (n) in ascending order and, unless null, the unit vectors in the same
/// order to the rows of `eigenvectors` (n, n).
template <typename scalar_t>
void diagonal_eigh(const scalar_t* A, int64_t n, typename RealOf<scalar_t>::type* eigenvalues, scalar_t* eigenvectors) {
  const auto entry = [&](int64_t i) {
    return real_part(A[i * (n + 1)]);
  };
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return entry(i) < entry(j); });
  if (eigenvectors != nullptr) {
    std::fill_n(eigenvectors, n * n, scalar_t(0));
  }
  for (int64_t i = 0; i < n; ++i) {
    const auto from = order[static_cast<size_t>(i)];
    eigenvalues[i] = entry(from) + 0; // -0 becomes 0
    if (eigenvectors != nullptr) {
      eigenvectors[i * n + from] = 1;
    }
  }
}

} // namespace spectralgrad::kernels
