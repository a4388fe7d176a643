#pragma once

#include "kernels/simd/arithmetic.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <type_traits>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Computes F_ij S_ij from W = V^H gV. Shared by the SIMD kernel for small matrices, which has a matrix in each lane,
/// and the one for large matrices, which has entries of a row in the lanes.
template <typename T>
struct GapQuotient {
  using A = VectorArithmetic<T>;

  Vec<T> headroom; // the factor of all eigenvalues here
  Vec<T> largest; // max|lambda|, times `headroom`
  math::DenominatorUnit<A> unit;
  math::BroadenedInverse<A> inverse;
  OverScale<T> over_unit;
  math::NoiseGate<Vec<T>> gate;

  SPECTRALGRAD_INLINE GapQuotient(
      const Vec<T>& largest_eigenvalue,
      const math::BroadeningRule<T>& rule,
      const math::NoiseGate<T>& gate)
      : headroom(math::headroom<A>(largest_eigenvalue)),
        largest(largest_eigenvalue * headroom),
        unit(largest, headroom, rule.absolute_width),
        inverse(rule, unit, tolerances::negligible<T>),
        over_unit(unit.size),
        gate(gate.template to<Vec<T>>()) {}

  /// S_ij, given W_ij (`upper`) and conj(W_ji) (`lower`).
  template <typename E>
  SPECTRALGRAD_INLINE E skew_part(const E& upper, const E& lower) const {
    return scale(subtract_scaled(lower, Vec<T>(T(1)), upper), Vec<T>(T(0.5)));
  }

  /// S_ij, or zero if the noise gate drops it. `norms` is the sum of the norms of columns i and j of gV, an upper bound
  /// of N_ij. |upper| + |lower| is a lower bound. `decide(undecided, is_inside)` returns the entries that are dropped
  /// among those on which the bounds do not decide. `floor` is the round-off of the whole matrix.
  template <typename E, typename Decide>
  SPECTRALGRAD_INLINE E without_noise(
      const E& S,
      const E& upper,
      const E& lower,
      const Vec<T>& norms,
      const Mask<T>& inside_cluster,
      const Vec<T>& floor,
      const Decide& decide) const {
    constexpr bool is_complex = !std::is_same_v<E, Vec<T>>;
    const auto least = abs_lower_bound(S);
    const math::Bounds<Vec<T>> size{least, Vec<T>(abs_lower_bound_factor<T, is_complex>) * least};
    const math::Bounds<Vec<T>> N{abs_lower_bound(upper) + abs_lower_bound(lower), norms};
    const auto decide_outside = [&](const Mask<T>& undecided) {
      return decide(undecided, false);
    };
    const auto decide_inside = [&](const Mask<T>& undecided) {
      return decide(undecided, true);
    };
    auto dropped = gate.template is_dropped_outside<A>(size, N, negation<T>(inside_cluster), decide_outside);
    if (any<T>(inside_cluster)) {
      dropped = dropped | gate.template is_dropped_in_cluster<A>(size, N, floor, inside_cluster, decide_inside);
    }
    return where_entry(negation<T>(dropped), S);
  }

  /// F_ij S_ij in units of 1/`unit`.
  template <typename E>
  SPECTRALGRAD_INLINE E operator()(const E& S, const Vec<T>& gap) const {
    return scale(S, inverse(over_unit(gap)));
  }
  /// F_ij S_ij
  template <typename E>
  SPECTRALGRAD_INLINE E divide(const E& S, const Vec<T>& gap) const {
    return scale(over_unit((*this)(S, gap)), headroom);
  }
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
