#pragma once

#include <c10/util/complex.h>

#include <type_traits>

namespace spectralgrad::kernels {

/// The one of four functions of BLAS or LAPACK that is for entries of the type `scalar_t`.
template <typename scalar_t, typename S, typename D, typename C, typename Z>
auto* by_type(S* for_float, D* for_double, C* for_complex_float, Z* for_complex_double) {
  if constexpr (std::is_same_v<scalar_t, float>) {
    return for_float;
  } else if constexpr (std::is_same_v<scalar_t, double>) {
    return for_double;
  } else if constexpr (std::is_same_v<scalar_t, c10::complex<float>>) {
    return for_complex_float;
  } else {
    return for_complex_double;
  }
}

} // namespace spectralgrad::kernels
