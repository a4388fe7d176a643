#pragma once

#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

// The denominators lambda_j - lambda_i of the complex eigenvalues of one matrix, for CPU kernels. The same decisions as
// `divide_cotangent` of math/pairs/pairs.h makes for a batch of tensors.
namespace spectralgrad::math {

/// |z|, without the checks of `std::hypot` if no square over- or underflows.
template <typename real_t>
real_t absolute_value(c10::complex<real_t> z) {
  const auto square = z.real() * z.real() + z.imag() * z.imag();
  // Below, the square of the smaller part may lose digits.
  constexpr auto least = std::numeric_limits<real_t>::min() * static_cast<real_t>(int64_t{1} << 53);
  return square > least && square < std::numeric_limits<real_t>::infinity() ? std::sqrt(square) : std::abs(z);
}

template <typename real_t>
class ComplexPairs {
 public:
  using complex_t = c10::complex<real_t>;

  ComplexPairs(const BroadeningRule<real_t>& rule, const NoiseGate<real_t>& gate, bool gates, int64_t n)
      : rule_(rule), gate_(gate), gates_(gates), n_(n), scaled_(n), cluster_(n) {}

  /// Sets the eigenvalues.
  void set(const complex_t* values) {
    using A = NumberArithmetic<real_t>;
    real_t part = 0;
    for (int64_t i = 0; i < n_; ++i) {
      part = std::max({part, std::abs(values[i].real()), std::abs(values[i].imag())});
    }
    const auto room = headroom<A>(part);
    real_t largest = 0;
    for (int64_t i = 0; i < n_; ++i) {
      scaled_[i] = values[i] * room;
      largest = std::max(largest, absolute_value(scaled_[i]));
    }
    const DenominatorUnit<A> unit(largest, room, rule_.absolute_width);
    for (auto& x : scaled_) {
      x /= unit.size;
    }
    half_width_ = rule_.absolute_width > 0 ? rule_.absolute_width * room / unit.size : rule_.relative_width;
    per_unit_ = room / unit.size;
    find_clusters();
  }

  /// conj(F_ij) S_ij, i != j, or 0 if the noise gate drops it. `most` is an upper bound of N_ij, which `magnitude()`
  /// returns, and `largest` is M.
  template <typename Magnitude>
  complex_t divide(complex_t S, int64_t i, int64_t j, real_t most, real_t largest, const Magnitude& magnitude) const {
    const auto x = scaled_[j] - scaled_[i];
    if (gates_) {
      using A = NumberArithmetic<real_t>;
      const auto size = absolute_value(S);
      const bool inside = any_cluster_ && cluster_[i] == cluster_[j] && absolute_value(x) <= gate_.reach;
      if (inside ? gate_.template is_dropped_in_cluster<A>(size, magnitude(), largest * gate_.cluster_noise)
                 : gate_.template is_dropped_outside<A>(size, most) &&
                  gate_.template is_dropped_outside<A>(size, magnitude())) {
        return complex_t(0);
      }
    }
    return std::conj(inverse(x)) * S * per_unit_;
  }

 private:
  /// 1/x by the rule.
  complex_t inverse(complex_t x) const {
    const auto size = absolute_value(x);
    if (rule_.form == Broadening::cutoff && size <= half_width_) {
      return complex_t(0);
    }
    const auto width = rule_.form == Broadening::lorentzian ? half_width_ : real_t(0);
    // Dividing by the larger of |x| and the half-width first, no square over- or underflows.
    const auto unit = std::max(size, width);
    if (unit == 0) {
      return rule_.form == Broadening::lorentzian ? complex_t(0) : complex_t(1 / size, 0);
    }
    const auto direction = std::conj(x) / unit;
    return direction / (size * (size / unit) + width * (width / unit));
  }

  /// Numbers the chains of eigenvalues that are linked by small gaps.
  void find_clusters() {
    any_cluster_ = false;
    if (!gates_) {
      return;
    }
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        const auto x = scaled_[j] - scaled_[i];
        // The first comparisons decide for nearly every pair.
        if (std::abs(x.real()) <= gate_.step && std::abs(x.imag()) <= gate_.step && std::abs(x) <= gate_.step) {
          if (!any_cluster_) {
            std::iota(cluster_.begin(), cluster_.end(), 0);
            any_cluster_ = true;
          }
          std::replace(cluster_.begin(), cluster_.end(), int64_t{cluster_[j]}, int64_t{cluster_[i]});
        }
      }
    }
  }

  BroadeningRule<real_t> rule_;
  NoiseGate<real_t> gate_;
  bool gates_;
  int64_t n_;
  std::vector<complex_t> scaled_; // eigenvalues in units of `DenominatorUnit`
  std::vector<int64_t> cluster_;
  bool any_cluster_ = false;
  real_t half_width_ = 0;
  real_t per_unit_ = 1;
};

} // namespace spectralgrad::math
