#pragma once

#include "kernels/simd/vector.h"

#include <type_traits>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The smallest multiple of the number of lanes that is at least n.
template <typename T>
constexpr int padded(int n) {
  return (n + lane_count<T> - 1) / lane_count<T> * lane_count<T>;
}

/// Joins the lanes by the associative operation `join`, in an order that does not depend on the compiler.
template <typename T, typename Join>
SPECTRALGRAD_INLINE T join_lanes(const Vec<T>& x, const Join& join) {
  alignas(64) T lanes[lane_count<T>];
  store(lanes, x);
  for (int half = lane_count<T> / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) {
      lanes[lane] = join(lanes[lane], lanes[lane + half]);
    }
  }
  return lanes[0];
}

/// Replaces `count` numbers, a power of two, by their inverses, with one division for all, because divisions take most
/// of the time. Their product must neither overflow nor underflow.
template <typename T, int count>
SPECTRALGRAD_INLINE void invert(Vec<T> (&x)[count]) {
  if constexpr (count == 1) {
    x[0] = Vec<T>(T(1)) / x[0];
  } else {
    Vec<T> inverses[count / 2];
    for (int i = 0; i < count; i += 2) {
      inverses[i / 2] = x[i] * x[i + 1];
    }
    invert<T>(inverses);
    for (int i = 0; i < count; i += 2) {
      const auto first = x[i];
      x[i] = inverses[i / 2] * x[i + 1];
      x[i + 1] = inverses[i / 2] * first;
    }
  }
}

/// Calls f(i, count) for groups of `count` numbers, from i on, which make up begin <= i < end. `count` is a constant: a
/// power of two for `invert`, small enough that the product of differences of eigenvalues does not underflow if no more
/// than two of them are tiny.
template <typename T, typename F>
SPECTRALGRAD_INLINE void for_groups(int begin, int end, const F& f) {
  int i = begin;
  for (; sizeof(T) == 8 && i + 4 <= end; i += 4) {
    f(i, std::integral_constant<int, 4>());
  }
  for (; i + 2 <= end; i += 2) {
    f(i, std::integral_constant<int, 2>());
  }
  if (i < end) {
    f(i, std::integral_constant<int, 1>());
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
