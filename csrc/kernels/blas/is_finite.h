#pragma once

#include "core/scalar_traits.h"

#include <cstdint>

namespace spectralgrad::kernels {

/// Whether the entries of the matrix `A`, of `size` entries, are finite.
template <typename scalar_t>
bool is_finite(const scalar_t* A, int64_t size) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto* parts = reinterpret_cast<const real_t*>(A);
  // 0 x is NaN if x is NaN or Inf.
  real_t zeros = 0;
  for (int64_t i = 0; i < size * parts_of<scalar_t>; ++i) {
    zeros += 0 * parts[i];
  }
  return zeros == 0;
}

} // namespace spectralgrad::kernels
