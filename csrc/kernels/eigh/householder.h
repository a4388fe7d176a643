#pragma once

#include "core/tolerances.h"
#include "kernels/simd/entry.h"

// Householder reflections of matrices, one matrix in each SIMD lane.
//
// A reflection that is not exactly unitary shifts all eigenvalues of a cluster in the same direction. Other round-off
// averages out. So the factors of the reflections are kept in two words.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The memory of one group of matrices, one matrix in each SIMD lane. An entry consists of `parts` vectors: the real
/// part and, for complex matrices, the imaginary part.
template <typename T, bool is_complex>
struct Group {
  static constexpr int parts = is_complex ? 2 : 1;
  static constexpr int entry = parts * lane_count<T>;

  int n;
  int row; // distance between rows, in numbers; no multiple of the page size, so that columns spread over the cache
  T* A; // the lower triangle; after the reduction, row i holds v of the reflection H = I - v v^H/h
  T* Q; // n x n; null if no eigenvectors are requested
  T* reciprocals; // n pairs of vectors: the high and the low word of 1/h, both zero where H is the identity
  T* phases; // n entries; only for complex matrices
  T* scratch; // 2n entries

  SPECTRALGRAD_INLINE T* at(T* matrix, int i, int j) const {
    return matrix + i * row + j * entry;
  }
  SPECTRALGRAD_INLINE T* reciprocal(int i) const {
    return reciprocals + 2 * i * lane_count<T>;
  }
  SPECTRALGRAD_INLINE T* reciprocal_low(int i) const {
    return reciprocal(i) + lane_count<T>;
  }
};

/// A sum of products in two words: `high`, and the sum of its round-off, `low`.
///
/// The high word starts from a number that is larger than every partial sum, so that Dekker's fast two-sum recovers the
/// round-off of each addition in three operations. The sum is split into two parts, which are independent chains of
/// operations. T. J. Dekker, A floating-point technique for extending the available precision, Numer. Math. 18, 224-242
/// (1971).
template <typename T>
class LongSum {
 public:
  /// `bound` > 0: an upper bound for the absolute value of every partial sum.
  SPECTRALGRAD_INLINE explicit LongSum(const Vec<T>& bound)
      : start_(bound + bound), high_{start_, start_}, low_{Vec<T>(T(0)), Vec<T>(T(0))} {}

  template <int part = 0>
  SPECTRALGRAD_INLINE void add_product(const Vec<T>& a, const Vec<T>& b) {
    const auto sum = fma(a, b, high_[part]);
    low_[part] = low_[part] + fms(a, b, sum - high_[part]);
    high_[part] = sum;
  }
  template <int part = 0>
  SPECTRALGRAD_INLINE void add_product(const Complex<T>& a, const Complex<T>& b) {
    add_product<0>(a.re, b.re);
    add_product<1>(a.im, b.im);
  }
  SPECTRALGRAD_INLINE Vec<T> high() const {
    return (high_[0] - start_) + (high_[1] - start_);
  }
  SPECTRALGRAD_INLINE Vec<T> low() const {
    return low_[0] + low_[1];
  }

 private:
  Vec<T> start_;
  Vec<T> high_[2];
  Vec<T> low_[2];
};

/// Adds Re(a^H b) to `sum`; `a` and `b` have `count` entries.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE void add_dot(const T* a, const T* b, int count, LongSum<T>& sum) {
  constexpr int entry = (is_complex ? 2 : 1) * lane_count<T>;
  const auto at = [](const T* x, int c) {
    return load_entry<T, is_complex>(x + c * entry);
  };
  int c = 0;
  for (; c + 2 <= count; c += 2) {
    sum.template add_product<0>(at(a, c), at(b, c));
    sum.template add_product<1>(at(a, c + 1), at(b, c + 1));
  }
  if (c < count) {
    sum.template add_product<0>(at(a, c), at(b, c));
  }
}

template <typename T>
struct Reflection {
  Vec<T> entry; // the off-diagonal entry of T
  Vec<T> squared_length; // |v|^2, rounded to one word; 1 in lanes without a reflection
};

/// Computes the reflection H that zeroes row `i` of A left of the diagonal, except for the last entry, (i, i - 1).
///
/// Writes v over the row, 1/h to the reciprocals and, for complex matrices, the phase that makes (i, i - 1) real to
/// the phases. Returns that entry, made real. If the squares of the entries to be zeroed sum to no more than
/// `negligible`, H is the identity and v is zero.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Reflection<T> reflect(const Group<T, is_complex>& group, int i, const Vec<T>& negligible) {
  using G = Group<T, is_complex>;
  using E = Entry<T, is_complex>;
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  const Vec<T> two(T(2));
  const Vec<T> half(T(0.5));
  const Vec<T> nothing(Tolerance<T>::nothing);
  T* x = group.at(group.A, i, 0);
  T* last = group.at(group.A, i, i - 1);
  const auto square = [&](int c, const Vec<T>& sum) {
    return add_squared(load_entry<T, is_complex>(x + c * G::entry), sum);
  };
  auto tail = zero;
  auto odd = zero;
  for (int c = 0; c + 2 < i; c += 2) {
    tail = square(c, tail);
    odd = square(c + 1, odd);
  }
  tail = (i % 2 == 0 ? square(i - 2, tail) : tail) + odd;
  // Entries whose squares may have underflowed are dropped: they are negligible beside the largest entry of A, about 1.
  const auto reflects = larger(nothing, negligible) < tail;
  // The length of v is arbitrary. A tiny row is scaled up, so that not even the round-off of its squares underflows.
  constexpr T far = T(1 << 20) * T(1 << 20);
  const auto is_tiny = tail < Vec<T>(Tolerance<T>::nothing * (far * far));
  const auto up = select(is_tiny, Vec<T>(far), one);
  const auto down = select(is_tiny, Vec<T>(1 / far), one);
  for (T* entry = x; entry != last; entry += G::entry) {
    store_entry(entry, where_entry(reflects, scale(conj(load_entry<T, is_complex>(entry)), up)));
  }
  tail = tail * up * up;
  const auto alpha = scale(load_entry<T, is_complex>(last), up);
  // The upper bound: |v|^2 <= 5 (tail + |alpha|^2).
  LongSum<T> squares(select(reflects, Vec<T>(T(5)) * (tail + squared(alpha)), one));
  add_dot<T, is_complex>(x, x, i - 1, squares);
  const auto finish = [&](const E& v) {
    store_entry(last, where_entry(reflects, v));
    squares.add_product(v, v);
    const auto length = select(reflects, squares.high(), one);
    // One step of Newton's method gives 1/h = 2/|v|^2 in two words.
    const auto r = two / length;
    const auto rest = fnma(r, squares.low(), fnma(r, length, two)) * r * half;
    const auto reciprocal = r + rest;
    store(group.reciprocal(i), where(reflects, reciprocal));
    store(group.reciprocal_low(i), where(reflects, rest - (reciprocal - r)));
    return length;
  };
  if constexpr (is_complex) {
    const auto alpha_squared = squared(alpha);
    // A tiny alpha counts as zero: |alpha|^2 may have lost the real or the imaginary part to underflow, and the phase
    // would not have absolute value 1.
    const auto there = Vec<T>(Tolerance<T>::nothing / Tolerance<T>::eps) < alpha_squared;
    const auto root = select(there, alpha_squared, one).sqrt();
    const auto size = where(there, root);
    const auto norm = select(reflects, fma(size, size, tail).sqrt(), size);
    const auto inverse = one / root;
    const Complex<T> phase{select(there, alpha.re * inverse, one), where(there, alpha.im * inverse)};
    store_entry(group.phases + i * G::entry, scale(phase, select(reflects, zero - one, one)));
    return {norm * down, finish(scale(conj(phase), norm + size))};
  } else {
    const auto size = alpha.abs();
    const auto norm = select(reflects, fma(size, size, tail).sqrt(), size);
    const auto entry = select(reflects, zero - with_sign_of(alpha, norm), alpha);
    return {entry * down, finish(with_sign_of(alpha, norm + size))};
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
