#pragma once

#include <c10/util/complex.h>

#include <type_traits>

namespace spectralgrad::kernels {

/// The four functions of BLAS or LAPACK for one operation. They are null if LibTorch does not contain them.
template <typename S, typename D, typename C, typename Z>
struct ByType {
  S* for_float;
  D* for_double;
  C* for_complex_float;
  Z* for_complex_double;

  bool is_present() const {
    return for_float != nullptr && for_double != nullptr && for_complex_float != nullptr &&
        for_complex_double != nullptr;
  }

  /// The function for entries of the type `scalar_t`.
  template <typename scalar_t>
  auto* of() const {
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
};

} // namespace spectralgrad::kernels

/// Defines `variable`, the four functions `name` of the BLAS or LAPACK that LibTorch contains. Its headers do not
/// declare all of them. `complex_name` is the name for complex entries. The signatures are templates of the type of
/// entries. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-macro-parentheses): types cannot be in parentheses.
#define SPECTRALGRAD_BY_TYPE(variable, name, Signature, complex_name, ComplexSignature) \
  extern "C" {                                                                          \
  [[gnu::weak]] Signature<float> s##name##_;                                            \
  [[gnu::weak]] Signature<double> d##name##_;                                           \
  [[gnu::weak]] ComplexSignature<c10::complex<float>> c##complex_name##_;               \
  [[gnu::weak]] ComplexSignature<c10::complex<double>> z##complex_name##_;              \
  }                                                                                     \
  const ::spectralgrad::kernels::ByType variable {                                      \
    s##name##_, d##name##_, c##complex_name##_, z##complex_name##_                      \
  }
// NOLINTEND(bugprone-macro-parentheses)
