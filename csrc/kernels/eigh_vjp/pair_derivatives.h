#pragma once

#include "kernels/eigh_vjp/gap_quotient.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// F_ij S_ij with its derivatives, as `math::differentiate_quotient` has them.
template <typename T, typename E>
struct PairDerivatives {
  E divided; // F S
  Vec<T> factor; // F, or 0 if the derivative with respect to S is dropped
  E slope; // F' S, times the unit of gaps; 0 if F is a constant. F' itself may underflow.

  /// S and `from`, the unit of S, are as in `LaneCotangents::for_each_pair`. Pairs with a gap up to `close_gap`, as a
  /// fraction of the quotient's unit, are not resolved.
  SPECTRALGRAD_INLINE PairDerivatives(
      const E& S,
      const Vec<T>& gap,
      const Mask<T>& inside,
      const GapQuotient<T>& quotient,
      const Vec<T>& from,
      T close_gap) {
    const auto x = quotient.over_unit(gap);
    const auto inverse = quotient.inverse(x);
    const auto unit = from * quotient.headroom;
    divided = quotient.over_unit(scale(scale(S, inverse), unit));
    const auto close = inside | (x.abs() <= Vec<T>(close_gap));
    const auto dropped = abs_lower_bound(S) == Vec<T>(T(0));
    factor = where(negation<T>(close & dropped), quotient.over_unit(inverse * quotient.headroom));
    const auto scaled = scale(scale(S, quotient.inverse.derivative(x)), unit);
    slope = where_entry(negation<T>(close), quotient.over_unit(scaled));
  }
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
