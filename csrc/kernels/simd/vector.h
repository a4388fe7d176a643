#pragma once

#include "core/tolerances.h"

#include <ATen/cpu/vec/vec.h>

#include <cstdint>
#include <limits>

// One matrix in each lane of a SIMD register.
//
// Everything in this folder but its .cpp files is compiled once for each instruction set, within a namespace of its own, and
// calls nothing that is shared. Multiplications and additions are fused only where it is written (-ffp-contract=off), so that
// what becomes of a lane depends on nothing but that lane: not on its neighbours, its place, or how many there are.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// As many numbers as there are lanes.
template <typename T>
using Vec = at::vec::Vectorized<T>;

/// All bits of a lane, or none.
template <typename T>
using Mask = Vec<T>;

template <typename T>
inline constexpr int lane_count = Vec<T>::size();

#define SPECTRALGRAD_INLINE inline __attribute__((always_inline))

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

/// `x`, and zero where `mask` is not set.
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

/// The size of `a` with the sign of `b`.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> with_sign_of(const Vec<T>& b, const Vec<T>& a) {
  const Vec<T> sign(T(-0.0));
  return (sign & b) | a;
}

/// Powers of two, of which `to` brings the largest entry of a matrix near 1 and `from` takes it back; both are normal numbers.
template <typename T>
struct Scale {
  Vec<T> to;
  Vec<T> from;
  /// The largest entry, scaled: less than 1 only if it was subnormal.
  Vec<T> size;

  explicit Scale(const Vec<T>& largest) {
    using Limits = std::numeric_limits<T>;
    // The bits of an exponent are those of infinity.
    const auto power = largest & Vec<T>(Limits::infinity());
    from = smaller(larger(power, Vec<T>(Limits::min())), Vec<T>(T(0.25) / Limits::min()));
    to = Vec<T>(T(1)) / from;
    size = largest * to;
  }
};

/// Where rounding ends and what counts as nothing: for matrices whose largest entry is about 1.
template <typename T>
struct Tolerance {
  static constexpr T eps = std::numeric_limits<T>::epsilon();
  /// Squares of what is nothing beside 1.
  static constexpr T nothing = tolerances::negligible<T> * tolerances::negligible<T>;
};

/// Whether an off-diagonal entry, by its squared size, is nothing beside the diagonal entries in its row and column: LAPACK's
/// criterion. `floor` is a square, too.
template <typename T>
SPECTRALGRAD_INLINE Mask<T> is_negligible(
    const Vec<T>& squared,
    const Vec<T>& a,
    const Vec<T>& b,
    const Vec<T>& floor) {
  constexpr T half_eps = Tolerance<T>::eps / 2;
  return squared <= fma((a * Vec<T>(half_eps * half_eps)).abs(), b.abs(), floor);
}

/// The floor: nothing, until it has taken so many sweeps that it is rounding that does not become smaller.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> negligible_floor(bool late, const Vec<T>& size) {
  const auto rounding = size * Vec<T>(Tolerance<T>::eps / 10);
  return late ? rounding * rounding : Vec<T>(Tolerance<T>::nothing);
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
