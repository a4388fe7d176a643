#pragma once

#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <type_traits>

// Common names for operations on real and complex scalars, so that templates are written once.
namespace spectralgrad {

template <typename T>
struct RealOf {
  using type = T;
};
template <typename T>
struct RealOf<c10::complex<T>> {
  using type = T;
};

/// The number of real numbers in a scalar: 1 or 2.
template <typename scalar_t>
inline constexpr int64_t parts_of = std::is_same_v<scalar_t, typename RealOf<scalar_t>::type> ? 1 : 2;

template <typename T>
T conjugate(T x) {
  return x;
}
template <typename T>
c10::complex<T> conjugate(c10::complex<T> z) {
  return std::conj(z);
}

template <typename T>
T real_part(T x) {
  return x;
}
template <typename T>
T real_part(c10::complex<T> z) {
  return z.real();
}

template <typename T>
T imaginary_part(T) {
  return 0;
}
template <typename T>
T imaginary_part(c10::complex<T> z) {
  return z.imag();
}

/// The largest absolute value of the `count` numbers at `x`; 0 if `x` is null.
template <typename T>
T largest_size(const T* x, int64_t count) {
  T result = 0;
  for (int64_t i = 0; x != nullptr && i < count; ++i) {
    result = std::max(result, std::abs(x[i]));
  }
  return result;
}

} // namespace spectralgrad
