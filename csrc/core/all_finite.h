#pragma once

#include "core/scalar_traits.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace spectralgrad {

/// Whether `count` entries are finite. Tests the exponent bits of all numbers, because compilers do not vectorize a
/// loop that ends early or sums floating-point numbers.
template <typename scalar_t>
bool all_finite(const scalar_t* entries, int64_t count) {
  using real_t = typename RealOf<scalar_t>::type;
  using Bits = std::conditional_t<sizeof(real_t) == 4, uint32_t, uint64_t>;
  constexpr auto exponent = std::bit_cast<Bits>(std::numeric_limits<real_t>::infinity());
  const auto* numbers = reinterpret_cast<const real_t*>(entries);
  Bits found = 0;
  for (int64_t i = 0; i < count * parts_of<scalar_t>; ++i) {
    found |= static_cast<Bits>((std::bit_cast<Bits>(numbers[i]) & exponent) == exponent);
  }
  return found == 0;
}

} // namespace spectralgrad
