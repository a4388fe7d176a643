#pragma once

#include "core/scalar_traits.h"
#include "core/tolerances.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <type_traits>

// The eigenvalues and eigenvectors of [[a, b], [c, d]] in closed form. With h = (a - d)/2, the larger root z of
// z^2 - 2 h z - b c = 0 has no cancellation, and the other one is -b c/z. The eigenvalues are d + z and d - b c/z, with
// the eigenvectors (z, c) and (-b, z). These are the formulas of LAPACK's lanv2. They change by round-off of single
// entries only, so they need no balancing.
namespace spectralgrad::kernels {

/// Numbers of `real_t` in double precision, so that no product of numbers in single precision over- or underflows.
template <typename scalar_t>
using InDouble = std::conditional_t<parts_of<scalar_t> == 1, double, std::complex<double>>;

template <typename scalar_t>
class EigOfTwoRows {
 public:
  using real_t = typename RealOf<scalar_t>::type;
  using complex_t = c10::complex<real_t>;
  using wide_t = InDouble<scalar_t>;

  /// Reads a finite matrix.
  EigOfTwoRows(const scalar_t* A, bool by_rows) : a_(A[0]), b_(A[by_rows ? 1 : 2]), c_(A[by_rows ? 2 : 1]), d_(A[3]) {}

  /// Writes the eigenvalues, and the eigenvectors, column by column unless null, with norm 1. As LAPACK's, eigenvectors
  /// of complex numbers have a real largest component.
  /// Returns false, and writes nothing, if another method is needed: for a matrix that may be normal, for nearly equal
  /// eigenvalues, and if squares may over- or underflow.
  bool decompose(complex_t* values, complex_t* V) const {
    const auto size = std::max({largest_part(a_), largest_part(b_), largest_part(c_), largest_part(d_)});
    if (!(size > tolerances::least_entry && size < 1 / tolerances::least_entry)) {
      return false;
    }
    // The first test of `NormalityTest`.
    const auto upper = squared(b_);
    const auto lower = squared(c_);
    const auto smaller_diagonal = std::min(squared(a_), squared(d_));
    if (std::abs(upper - lower) <= tolerances::normal_matrix<real_t>(2) * (2 * smaller_diagonal + upper + lower)) {
      return false;
    }
    const auto half = (a_ - d_) / 2.0;
    const auto product = b_ * c_;
    const auto discriminant = half * half + product;
    const auto round_off = tolerances::discriminant * tolerances::eps(c10::CppTypeToScalarType<real_t>::value);
    const auto terms = std::max(squared(half), std::abs(product));
    if (!(terms > tolerances::least_entry * tolerances::least_entry && std::abs(discriminant) > round_off * terms)) {
      return false;
    }
    if constexpr (parts_of<scalar_t> == 1) {
      if (discriminant < 0) {
        write_conjugate_pair(half, std::sqrt(-discriminant), values, V);
        return true;
      }
    }
    const auto root = std::sqrt(discriminant);
    const auto z = std::real(std::conj(half) * root) < 0 ? half - root : half + root;
    values[0] = narrow(d_ + z);
    values[1] = narrow(d_ - product / z);
    if (V != nullptr) {
      write_normalized(z, c_, V);
      write_normalized(-b_, z, V + 2);
    }
    return true;
  }

 private:
  static double largest_part(wide_t x) {
    return std::max(std::abs(std::real(x)), std::abs(std::imag(x)));
  }

  static double squared(wide_t x) {
    return std::real(x) * std::real(x) + std::imag(x) * std::imag(x);
  }

  static complex_t narrow(std::complex<double> x) {
    return {static_cast<real_t>(x.real()), static_cast<real_t>(x.imag())};
  }

  static void write_normalized(wide_t x, wide_t y, complex_t* v) {
    wide_t factor = 1 / std::sqrt(squared(x) + squared(y));
    if constexpr (parts_of<scalar_t> == 2) {
      // The largest component becomes real and positive.
      const auto largest = squared(x) >= squared(y) ? x : y;
      factor *= std::conj(largest) / std::abs(largest);
    }
    v[0] = narrow(x * factor);
    v[1] = narrow(y * factor);
  }

  /// The eigenvalues d + h +- i w have the eigenvectors (b, -h +- i w) and (h +- i w, c), which are proportional. The
  /// components of each have absolute values in the ratio of sqrt|b| and sqrt|c|.
  void write_conjugate_pair(double half, double w, complex_t* values, complex_t* V) const {
    values[0] = narrow({d_ + half, w});
    values[1] = narrow({d_ + half, -w});
    if (V == nullptr) {
      return;
    }
    const auto upper = std::abs(b_);
    const auto lower = std::abs(c_);
    const auto largest = std::max(upper, lower);
    const auto factor = 1 / std::sqrt(largest * (upper + lower));
    const bool first = upper >= lower;
    const auto sign = std::copysign(factor, first ? b_ : c_);
    V[first ? 0 : 1] = static_cast<real_t>(largest * factor);
    V[first ? 1 : 0] = narrow({(first ? -half : half) * sign, w * sign});
    V[2] = std::conj(V[0]);
    V[3] = std::conj(V[1]);
  }

  wide_t a_;
  wide_t b_;
  wide_t c_;
  wide_t d_;
};

} // namespace spectralgrad::kernels
