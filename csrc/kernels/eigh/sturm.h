#pragma once

#include "kernels/simd/vector.h"

// Eigenvalues of real symmetric tridiagonal matrices, one in each lane, brought nearer to the exact ones by counting.
//
// W. Givens, Numerical computation of the characteristic values of a real symmetric matrix, ORNL-1574 (1954); J. H.
// Wilkinson, The algebraic eigenvalue problem (1965), chapter 5, sections 36-41: as many eigenvalues are below x as
// there are changes of sign among the leading principal minors of T - x I, and what rounding does to them is what
// changing T by a few ulp of its norm does. A hundred sweeps of QL add up to more than that. Counted with the minors
// themselves rather than their quotients, which would take most of the time; powers of two keep them in range.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Rows from one change of scale to the next: too few for the larger one of two minors, 1 ... 4 before, to underflow,
/// even where e^2 is at its floor every other row, or to overflow.
template <typename T>
inline constexpr int rows_in_range = sizeof(T) == 4 ? 4 : 8;

/// Tridiagonal matrices, one in each lane, to be counted in.
template <typename T>
class SturmSequence {
 public:
  static constexpr int64_t numbers(int n) {
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

  /// From numbers `stride` apart, of any scale.
  SPECTRALGRAD_INLINE void copy(const T* d, const T* e, int stride) const {
    for (int i = 0; i < n_; ++i) {
      store(row(i), load(d + i * stride));
      store(row(i) + lane_count<T>, i == 0 ? Vec<T>(T(0)) : load(e + (i - 1) * stride));
    }
  }

  /// Multiplies the matrix by a power of two, which is to bring its norm below 2, and squares what is beside the
  /// diagonal.
  SPECTRALGRAD_INLINE void prepare(const Vec<T>& scale) const {
    // Of zeros nothing would be left to the rows below an x that is an eigenvalue of those above.
    constexpr T quarter_eps = std::numeric_limits<T>::epsilon() / 4;
    const Vec<T> floor(quarter_eps * quarter_eps);
    for (int i = 0; i < n_; ++i) {
      const auto e = load(row(i) + lane_count<T>) * scale;
      store(row(i), load(row(i)) * scale);
      store(row(i) + lane_count<T>, larger(e * e, floor));
    }
    // Above all that is asked for.
    for (int i = n_; i < rows(); ++i) {
      store(row(i), Vec<T>(T(4)));
      store(row(i) + lane_count<T>, floor);
    }
  }

  /// Rows less twice the number of eigenvalues below x, of each x.
  template <int count>
  SPECTRALGRAD_INLINE void tally(const Vec<T> (&x)[count], Vec<T> (&tallies)[count]) const {
    using Limits = std::numeric_limits<T>;
    const Vec<T> one(T(1));
    const Vec<T> sign(T(-0.0));
    // The bits of an exponent but for the last one: inverted, they are those of a reciprocal's.
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

/// Moves the ascending `values`, n vectors `stride` apart, to where their neighbourhoods hold the eigenvalues of the
/// same index; those that are there already stay as they are. `center` is what was subtracted from the diagonal: the
/// norm is that before.
template <typename T>
void correct_by_counting(const SturmSequence<T>& sequence, T* values, int stride, const Vec<T>& center) {
  const int n = sequence.n();
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  // Of a neighbourhood, in ulp of the norm; QL is seen to be up to 20 off. Of a smaller one more values would have to
  // move.
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
    Vec<T> enough[at_once]; // the least tally of an x that no more eigenvalues are below than have a lower index
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
      // Neighbourhoods overlap; the larger one of two values holds both eigenvalues if they are in the wrong order.
      largest = larger(largest, load(to));
      store(to, largest);
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
