#pragma once

#include "core/always_inline.h"
#include "core/tolerances.h"

#include <ATen/cpu/vec/vec.h>

#include <cstdint>
#include <limits>

// SIMD vectors, with one matrix in each lane.
//
// Code in namespace CPU_CAPABILITY is compiled once for each instruction set. It calls no function that these versions
// share: the linker would keep one version of a shared inline function for all instruction sets.
//
// Multiplications and additions are fused only where the code says so (-ffp-contract=off). So the results of a lane
// do not depend on its neighbours, on its position, or on the number of lanes.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// One number in each lane.
template <typename T>
using Vec = at::vec::Vectorized<T>;

/// A lane in which a condition is true has all bits set, the others none.
template <typename T>
using Mask = Vec<T>;

template <typename T>
inline constexpr int lane_count = Vec<T>::size();

template <typename T>
SPECTRALGRAD_INLINE Vec<T> load(const T* from) {
  return Vec<T>::loadu(from);
}

template <typename T>
SPECTRALGRAD_INLINE void store(T* to, const Vec<T>& x) {
  x.store(to);
}

/// a b + c
template <typename T>
SPECTRALGRAD_INLINE Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return at::vec::fmadd(a, b, c);
}

/// c - a b
template <typename T>
SPECTRALGRAD_INLINE Vec<T> fnma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return at::vec::fnmadd(a, b, c);
}

/// a b - c
template <typename T>
SPECTRALGRAD_INLINE Vec<T> fms(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return at::vec::fmsub(a, b, c);
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> select(const Mask<T>& mask, const Vec<T>& yes, const Vec<T>& no) {
  return Vec<T>::blendv(no, yes, mask);
}

/// `x` in lanes where `mask` is set, zero in the others.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> where(const Mask<T>& mask, const Vec<T>& x) {
  return mask & x;
}

template <typename T>
SPECTRALGRAD_INLINE Mask<T> negation(const Mask<T>& mask) {
  const Vec<T> zero(T(0));
  return mask ^ (zero == zero); // NOLINT(misc-redundant-expression): all bits
}

template <typename T>
SPECTRALGRAD_INLINE bool any(const Mask<T>& mask) {
  return mask.zero_mask() != (1 << lane_count<T>)-1;
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> larger(const Vec<T>& a, const Vec<T>& b) {
  return at::vec::clamp_min(a, b);
}

template <typename T>
SPECTRALGRAD_INLINE Vec<T> smaller(const Vec<T>& a, const Vec<T>& b) {
  return at::vec::clamp_max(a, b);
}

/// `a` >= 0 with the sign of `b`.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> with_sign_of(const Vec<T>& b, const Vec<T>& a) {
  const Vec<T> sign(T(-0.0));
  return (sign & b) | a;
}

/// Powers of two that scale matrices: `to` brings the largest entry of a matrix to about 1, and `from` = 1/`to` reverts
/// that. Both are normal numbers.
template <typename T>
struct Scale {
  Vec<T> to;
  Vec<T> from;
  /// The largest entry, scaled. At least 1 unless the entry is subnormal, and below 2 unless it is close to overflow.
  Vec<T> size;

  explicit Scale(const Vec<T>& largest) {
    using Limits = std::numeric_limits<T>;
    // Infinity has exactly the exponent bits set, so this rounds down to a power of two.
    const auto power = largest & Vec<T>(Limits::infinity());
    from = smaller(larger(power, Vec<T>(Limits::min())), Vec<T>(T(0.25) / Limits::min()));
    to = Vec<T>(T(1)) / from;
    size = largest * to;
  }
};

/// Round-off and the size of negligible entries, for matrices whose largest entry is about 1.
template <typename T>
struct Tolerance {
  static constexpr T eps = std::numeric_limits<T>::epsilon();
  /// Squares up to this belong to entries that are negligible beside 1.
  static constexpr T nothing = tolerances::negligible<T> * tolerances::negligible<T>;
};

/// Whether an off-diagonal entry is negligible beside the diagonal entries `a` and `b` in its row and its column, by
/// LAPACK's criterion. `squared` is the square of its absolute value; `floor`, also a square, is added to the
/// threshold.
template <typename T>
SPECTRALGRAD_INLINE Mask<T> is_negligible(
    const Vec<T>& squared,
    const Vec<T>& a,
    const Vec<T>& b,
    const Vec<T>& floor) {
  constexpr T fraction = tolerances::off_diagonal<T>;
  return squared <= fma((a * Vec<T>(fraction * fraction)).abs(), b.abs(), floor);
}

/// The `floor` for `is_negligible`. It is tiny at first. In a late sweep it is round-off relative to the largest entry,
/// `size`, because entries that are still not negligible then are round-off that no sweep makes smaller.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> negligible_floor(bool late, const Vec<T>& size) {
  const auto rounding = size * Vec<T>(tolerances::late_off_diagonal<T>);
  return late ? rounding * rounding : Vec<T>(Tolerance<T>::nothing);
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
