#pragma once

#include "kernels/simd/vector.h"

// Products of a matrix with the rotations of QL sweeps. The rotations of several sweeps are applied together.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The number of sweeps whose rotations are applied together. They stay in the cache while the rows of the eigenvectors
/// pass through it.
inline constexpr int sweeps_at_once = 4;

/// The cosines and sines of up to `sweeps_at_once` sweeps of one group. Rotation i acts on columns i and i + 1.
template <typename T>
struct Rotations {
  T* begin;
  int n;

  SPECTRALGRAD_INLINE T* cosines(int sweep) const {
    return begin + static_cast<int64_t>(2 * sweep) * n * lane_count<T>;
  }
  SPECTRALGRAD_INLINE T* sines(int sweep) const {
    return cosines(sweep) + static_cast<int64_t>(n) * lane_count<T>;
  }
  SPECTRALGRAD_INLINE void put(int sweep, int i, const Vec<T>& cosine, const Vec<T>& sine) const {
    store(cosines(sweep) + i * lane_count<T>, cosine);
    store(sines(sweep) + i * lane_count<T>, sine);
  }
  static constexpr int64_t workspace_size(int n) {
    return static_cast<int64_t>(2 * sweeps_at_once) * n * lane_count<T>;
  }
};

/// The rotations of a sweep: begin <= i < end.
struct Range {
  int begin;
  int end;
};

/// The matrix whose columns are rotated, as real numbers (row, column, lane): the rotations are real, so the real and
/// the imaginary parts of a row count as two rows. The `parts` rows of one entry lie side by side; the next entry of
/// a column is `row` numbers further.
template <typename T, int parts>
struct Columns {
  T* begin;
  int64_t row;
  int rows;

  SPECTRALGRAD_INLINE T* at(int r, int column) const {
    return begin + r / parts * row + (column * parts + r % parts) * lane_count<T>;
  }
};

/// Applies sweeps `sweep` and `sweep + 1` to `rows` rows from `first` on. The second sweep runs one rotation behind the
/// first, so that each number is read and written once.
template <typename T, int parts, int rows>
SPECTRALGRAD_INLINE void apply_two_sweeps(
    const Columns<T, parts>& matrix,
    int first,
    const Rotations<T>& rotations,
    int sweep,
    Range range) {
  constexpr int W = lane_count<T>;
  const T* c0 = rotations.cosines(sweep);
  const T* s0 = rotations.sines(sweep);
  const T* c1 = rotations.cosines(sweep + 1);
  const T* s1 = rotations.sines(sweep + 1);
  Vec<T> a[rows]; // column i + 1, before rotation i of the first sweep
  Vec<T> b[rows]; // column i + 2, before rotation i + 1 of the second sweep
  T* row[rows];
  int i = range.end - 1;
  {
    const auto c = load(c0 + i * W);
    const auto s = load(s0 + i * W);
    for (int r = 0; r < rows; ++r) {
      row[r] = matrix.at(first + r, 0);
      const auto right = load(row[r] + (i + 1) * parts * W);
      const auto left = load(row[r] + i * parts * W);
      b[r] = fma(s, left, c * right);
      a[r] = fms(c, left, s * right);
    }
  }
  for (--i; i >= range.begin; --i) {
    const auto c = load(c0 + i * W);
    const auto s = load(s0 + i * W);
    const auto cc = load(c1 + (i + 1) * W);
    const auto ss = load(s1 + (i + 1) * W);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      T* at = row[r] + i * parts * W;
      const auto left = load(at);
      const auto middle = fma(s, left, c * a[r]);
      a[r] = fms(c, left, s * a[r]);
      store(at + 2 * parts * W, fma(ss, middle, cc * b[r]));
      b[r] = fms(cc, middle, ss * b[r]);
    }
  }
  const auto cc = load(c1 + (i + 1) * W);
  const auto ss = load(s1 + (i + 1) * W);
  for (int r = 0; r < rows; ++r) {
    T* at = row[r] + (i + 1) * parts * W;
    store(at + parts * W, fma(ss, a[r], cc * b[r]));
    store(at, fms(cc, a[r], ss * b[r]));
  }
}

/// Applies `sweeps` sweeps to all rows, in pairs. Both sweeps of a pair cover the range given for the first. If
/// `sweeps` is odd, the sweep after the last one must be the identity.
template <typename T, int parts>
void apply_sweeps(const Columns<T, parts>& matrix, const Rotations<T>& rotations, const Range* ranges, int sweeps) {
  constexpr int rows_at_once = 4;
  int row = 0;
  for (; row + rows_at_once <= matrix.rows; row += rows_at_once) {
    for (int sweep = 0; sweep < sweeps; sweep += 2) {
      apply_two_sweeps<T, parts, rows_at_once>(matrix, row, rotations, sweep, ranges[sweep]);
    }
  }
  for (; row < matrix.rows; ++row) {
    for (int sweep = 0; sweep < sweeps; sweep += 2) {
      apply_two_sweeps<T, parts, 1>(matrix, row, rotations, sweep, ranges[sweep]);
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
