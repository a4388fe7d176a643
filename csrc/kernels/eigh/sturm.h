#pragma once

#include "kernels/simd/vector.h"

// Corrects computed eigenvalues of real symmetric tridiagonal matrices, one matrix in each lane, by Sturm counts.
//
// The number of eigenvalues below x is the number of sign changes among the leading principal minors of T - x I.
// Round-off changes the count no more than a perturbation of T by a few ulp of its norm; the round-off of a hundred QL
// sweeps adds up to more than that. W. Givens, Numerical computation of the characteristic values of a real symmetric
// matrix, ORNL-1574 (1954); J. H. Wilkinson, The algebraic eigenvalue problem (1965), chapter 5, sections 36-41.
//
// The recurrence uses the minors themselves, because the divisions for their quotients would take most of the time.
// Scaling by powers of two keeps the minors in range.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The number of rows between two rescalings of the minors. Rescaling brings the larger of two successive minors to
/// [1, 4). Within so few rows the larger one cannot overflow or underflow, even if e^2 is at its floor in every other
/// row.
template <typename T>
inline constexpr int rows_in_range = sizeof(T) == 4 ? 4 : 8;

/// Tridiagonal matrices T, one in each lane, whose eigenvalues are counted. Row i holds two vectors: the diagonal
/// entry, and the entry to the left of it, which `prepare` squares.
template <typename T>
class SturmSequence {
 public:
  static constexpr int64_t workspace_size(int n) {
    return static_cast<int64_t>(2) * padded(n) * lane_count<T>;
  }

  SturmSequence() = default;
  SturmSequence(int n, T* memory) : n_(n), rows_(memory) {}

  SPECTRALGRAD_INLINE int n() const {
    return n_;
  }
  SPECTRALGRAD_INLINE int rows() const {
    return padded(n_);
  }

  /// Copies the diagonal `d` and the off-diagonal `e`, at any scale; successive vectors are `stride` numbers apart.
  SPECTRALGRAD_INLINE void copy(const T* d, const T* e, int stride) const {
    for (int i = 0; i < n_; ++i) {
      store(row(i), load(d + i * stride));
      store(row(i) + lane_count<T>, i == 0 ? Vec<T>(T(0)) : load(e + (i - 1) * stride));
    }
  }

  /// Multiplies the matrix by the power of two `scale`, which must bring its norm below 2, and squares the
  /// off-diagonal.
  SPECTRALGRAD_INLINE void prepare(const Vec<T>& scale) const {
    // Zero off-diagonals are replaced by a small number. Otherwise, if x is an eigenvalue of the leading block, all
    // later minors would be zero.
    constexpr T quarter_eps = std::numeric_limits<T>::epsilon() / 4;
    const Vec<T> floor(quarter_eps * quarter_eps);
    for (int i = 0; i < n_; ++i) {
      const auto e = load(row(i) + lane_count<T>) * scale;
      store(row(i), load(row(i)) * scale);
      store(row(i) + lane_count<T>, larger(e * e, floor));
    }
    // The eigenvalues of the padding rows are above every x that is counted.
    for (int i = n_; i < rows(); ++i) {
      store(row(i), Vec<T>(T(4)));
      store(row(i) + lane_count<T>, floor);
    }
  }

  /// Computes the number of `rows()` minus twice the number of eigenvalues below x, for each x.
  template <int count>
  SPECTRALGRAD_INLINE void tally(const Vec<T> (&x)[count], Vec<T> (&tallies)[count]) const {
    using Limits = std::numeric_limits<T>;
    const Vec<T> one(T(1));
    const Vec<T> sign(T(-0.0));
    // All exponent bits but the last. Inverting these bits of a number gives a power of two near its reciprocal.
    const Vec<T> exponent(T(2) / Limits::min());
    Vec<T> minor[count];
    Vec<T> before[count];
    for (int k = 0; k < count; ++k) {
      minor[k] = one;
      before[k] = Vec<T>(T(0));
      tallies[k] = Vec<T>(T(0));
    }
    for (int first = 0; first < rows(); first += rows_in_range<T>) {
#pragma GCC unroll 8
      for (int i = 0; i < rows_in_range<T>; ++i) {
        const auto d = load(row(first + i));
        const auto squared = load(row(first + i) + lane_count<T>);
#pragma GCC unroll 8
        for (int k = 0; k < count; ++k) {
          const auto next = fms(d - x[k], minor[k], squared * before[k]);
          tallies[k] = tallies[k] + (((next ^ minor[k]) & sign) | one);
          before[k] = minor[k];
          minor[k] = next;
        }
      }
#pragma GCC unroll 8
      for (int k = 0; k < count; ++k) {
        const auto scale = (larger(minor[k].abs(), before[k].abs()) & exponent) ^ exponent;
        minor[k] = minor[k] * scale;
        before[k] = before[k] * scale;
      }
    }
  }

 private:
  static constexpr int padded(int n) {
    return (n + rows_in_range<T> - 1) / rows_in_range<T> * rows_in_range<T>;
  }
  SPECTRALGRAD_INLINE T* row(int i) const {
    return rows_ + static_cast<int64_t>(2) * i * lane_count<T>;
  }

  int n_ = 0;
  T* rows_ = nullptr;
};

/// Moves each of the ascending `values` until its neighbourhood contains the eigenvalue of the same index. Values whose
/// neighbourhood contains it already stay the same, to the bit.
///
/// `values`: n vectors, `stride` numbers apart. `center`: the number that was subtracted from the diagonal; the size
/// of a neighbourhood is relative to the norm before that.
template <typename T>
void correct_by_counting(const SturmSequence<T>& sequence, T* values, int stride, const Vec<T>& center) {
  const int n = sequence.n();
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  // The radius of a neighbourhood, in ulp of the norm. A smaller one would make more values move.
  constexpr T radius = 3;
  constexpr int most_steps = 16;
  auto norm = larger((load(values) + center).abs(), (load(values + (n - 1) * stride) + center).abs());
  norm = select(zero < norm, norm, one);
  const Scale<T> units(norm);
  sequence.prepare(units.to);
  const auto reach = norm * units.to * Vec<T>(radius * std::numeric_limits<T>::epsilon());
  constexpr int at_once = 2;
  Vec<T> largest(-std::numeric_limits<T>::infinity());
  for (int first = 0; first < n; first += at_once) {
    Vec<T> value[at_once];
    Vec<T> ends[2 * at_once];
    Vec<T> tallies[2 * at_once];
    Vec<T> enough[at_once]; // the tally of x is at least this if the eigenvalue with this index is not below x
    for (int k = 0; k < at_once; ++k) {
      const int index = first + k < n ? first + k : n - 1;
      value[k] = load(values + index * stride) * units.to;
      enough[k] = Vec<T>(T(sequence.rows() - 2 * index));
      ends[2 * k] = value[k] - reach;
      ends[2 * k + 1] = value[k] + reach;
    }
    sequence.tally(ends, tallies);
    Vec<T> step[at_once];
    auto moving = zero;
    for (int k = 0; k < at_once; ++k) {
      const auto down = tallies[2 * k] < enough[k];
      const auto up = tallies[2 * k + 1] >= enough[k];
      step[k] = where(up, reach + reach) - where(down, reach + reach);
      moving = moving | up | down;
    }
    const bool moves = any<T>(moving);
    for (int steps = 0; steps < most_steps && any<T>(moving); ++steps) {
      Vec<T> end[at_once];
      Vec<T> tally[at_once];
      for (int k = 0; k < at_once; ++k) {
        value[k] = value[k] + step[k];
        end[k] = fma(step[k], Vec<T>(T(0.5)), value[k]);
      }
      sequence.tally(end, tally);
      moving = zero;
      for (int k = 0; k < at_once; ++k) {
        const auto beyond = ((zero < step[k]) & (tally[k] >= enough[k])) | ((step[k] < zero) & (tally[k] < enough[k]));
        step[k] = where(beyond, step[k]);
        moving = moving | beyond;
      }
    }
    for (int k = 0; k < at_once && first + k < n; ++k) {
      T* to = values + (first + k) * stride;
      if (moves) {
        const auto before = load(to);
        store(to, select(value[k] == before * units.to, before, value[k] * units.from));
      }
      // Neighbourhoods may overlap, so two values may be in the wrong order. The neighbourhood of the larger one then
      // contains both eigenvalues.
      largest = larger(largest, load(to));
      store(to, largest);
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
