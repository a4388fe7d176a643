#pragma once

#include "core/scalar_traits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

// Diagonal matrices, which LAPACK sorts and hardly looks at: so must whatever is not to be slower. Exact, and the same whatever the
// other matrices of the batch are decomposed by.
namespace spectralgrad::kernels {

/// Whether the triangle that is read of a matrix, row by row, is zero outside the diagonal, and that finite.
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

/// The diagonal in ascending order, and the unit vectors, one after the other; these may be null.
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
