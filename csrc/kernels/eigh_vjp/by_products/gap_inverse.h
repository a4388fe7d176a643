#pragma once

#include "core/arithmetic.h"
#include "core/tolerances.h"
#include "kernels/simd/batch_layout.h"
#include "math/pairs/broadening.h"

#include <spectralgrad/rule.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace spectralgrad::kernels {

/// F of the pairs of one matrix, for single numbers. Gaps are in units of a size near max|lambda|.
template <typename T>
class GapInverse {
 public:
  using A = NumberArithmetic<T>;

  GapInverse(const T* eigenvalues, int64_t n, const Rule& rule)
      : eigenvalues_(eigenvalues),
        unit_(largest_size(eigenvalues, n), T(1), math::broadening_rule<T>(rule).absolute_width),
        inverse_(math::broadening_rule<T>(rule), unit_, tolerances::negligible<T>),
        to_unit_(inverse_power_of_two(unit_.size)),
        rest_(1 / (unit_.size * to_unit_)) {}

  T unit() const {
    return unit_.size;
  }
  /// (lambda_j - lambda_i)/unit
  T gap(int64_t i, int64_t j) const {
    const auto scaled = [&](int64_t k) {
      return eigenvalues_[k] * to_unit_;
    };
    return math::denominator(math::Denominator::difference, scaled(i), scaled(j)) * rest_;
  }
  /// F of a gap, times the unit.
  T inverse(T gap) const {
    return inverse_(gap);
  }
  /// F' of a gap, times the square of the unit.
  T derivative(T gap) const {
    return inverse_.derivative(gap);
  }
  /// x factor/unit, in the order in which no intermediate result is subnormal.
  template <typename scalar_t>
  scalar_t over_unit(scalar_t x, T factor) const {
    const auto in_unit = x * to_unit_;
    const auto rest = factor * rest_;
    return std::abs(in_unit) < std::numeric_limits<T>::min() ? x * rest * to_unit_ : in_unit * rest;
  }

 private:
  /// A power of two near 1/size.
  static T inverse_power_of_two(T size) {
    if (!std::isfinite(size)) {
      return T(1);
    }
    using Limits = std::numeric_limits<T>;
    return std::ldexp(T(1), -std::clamp(std::ilogb(size), Limits::min_exponent, Limits::max_exponent - 2));
  }

  const T* eigenvalues_;
  math::DenominatorUnit<A> unit_;
  math::BroadenedInverse<A> inverse_;
  T to_unit_;
  T rest_; // 1/unit = to_unit_*rest_
};

} // namespace spectralgrad::kernels
