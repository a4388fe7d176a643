#pragma once

#include "core/scalar_traits.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace spectralgrad {

/// Whether `count` entries are finite. The exponent of a number that is not has only ones, so that adding one to it
/// carries to the sign bit. Compilers vectorize this, but no loop that ends early or sums floating-point numbers.
template <typename scalar_t>
bool all_finite(const scalar_t* entries, int64_t count) {
  using real_t = typename RealOf<scalar_t>::type;
  using Limits = std::numeric_limits<real_t>;
  using Bits = std::conditional_t<sizeof(real_t) == 4, uint32_t, uint64_t>;
  constexpr auto exponent = std::bit_cast<Bits>(Limits::infinity());
  constexpr auto one = std::bit_cast<Bits>(Limits::min());
  constexpr auto sign = std::bit_cast<Bits>(-real_t(0));
  const auto* numbers = reinterpret_cast<const real_t*>(entries);
  Bits found = 0;
  for (int64_t i = 0; i < count * parts_of<scalar_t>; ++i) {
    found |= (std::bit_cast<Bits>(numbers[i]) & exponent) + one;
  }
  return (found & sign) == 0;
}

} // namespace spectralgrad
