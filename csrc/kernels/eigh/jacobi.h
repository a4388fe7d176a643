#pragma once

#include "kernels/simd/entry.h"

// Cyclic Jacobi for n = 2, 3 and 4, in registers.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 8.5. Rotations by more than 45 degrees keep the
// diagonal in ascending order. Without them, cyclic Jacobi may exchange degenerate eigenvalues for ever. The closed
// solution of the cubic is no alternative, because the eigenvectors of close eigenvalues lose their orthogonality.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The unitary rotation of columns p and q that takes (x, y) to (c x - conj(s) y, s x + c y), with real c >= 0.
template <typename T, bool is_complex>
struct Rotation {
  Vec<T> c;
  Entry<T, is_complex> s;
  /// The diagonal entries p and q after the rotation, low <= high.
  Vec<T> low;
  Vec<T> high;
};

/// Returns the rotation that makes a = A_pq zero and the diagonal entries x = A_pp and y = A_qq ascending. In lanes
/// where `a` is `negligible`, it is the identity or exchanges the columns.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Rotation<T, is_complex> rotation(
    const Vec<T>& x,
    const Vec<T>& y,
    const Entry<T, is_complex>& a,
    const Vec<T>& a_squared,
    const Mask<T>& negligible) {
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  const auto d = y - x;
  const auto d_abs = d.abs();
  const auto four = Vec<T>(T(4)) * a_squared;
  const auto h = fma(d, d, four).sqrt(); // the gap between the two eigenvalues
  const auto sum = h + d_abs;
  // Cosine and sine are sum and 2|a|, divided by sqrt(sum^2 + 4|a|^2) = sqrt(2 h sum).
  const auto reciprocal = one / select(negligible, one, (h + h) * sum).sqrt();
  const auto c = select(negligible, one, sum * reciprocal);
  const auto unordered = d < zero;
  // The change of the diagonal entries, (h - |d|)/2, without cancellation.
  const auto moved = select(negligible, zero, reciprocal * reciprocal * four * h);
  Rotation<T, is_complex> result;
  result.low = select(unordered, y, x) - moved;
  result.high = select(unordered, x, y) + moved;
  if constexpr (is_complex) {
    const auto size = select(negligible, one, a_squared).sqrt();
    const auto sine = select(negligible, zero, (size + size) * reciprocal);
    const auto inverse = one / size;
    const auto length = select(unordered, c, sine);
    result.c = select(unordered, sine, c);
    result.s = {length * select(negligible, one, a.re * inverse), length * select(negligible, zero, a.im * inverse)};
  } else {
    const auto sine = select(negligible, zero, (a + a).abs() * reciprocal);
    result.c = select(unordered, sine, c);
    result.s = with_sign_of(a, select(unordered, c, sine));
  }
  return result;
}

/// Applies the rotation to the entries x and y of one row, in columns p and q.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE void rotate(
    const Rotation<T, is_complex>& rotation,
    Entry<T, is_complex>& x,
    Entry<T, is_complex>& y) {
  const auto before = x;
  if constexpr (is_complex) {
    x = subtract_product(conj(rotation.s), y, scale(x, rotation.c));
    y = add_product(rotation.s, before, scale(y, rotation.c));
  } else {
    x = fms(rotation.c, x, rotation.s * y);
    y = fma(rotation.s, before, rotation.c * y);
  }
}

/// The index of entry (p, q), p < q, among the entries above the diagonal, which are stored row by row.
template <int n>
constexpr int above(int p, int q) {
  return p * n - p * (p + 1) / 2 + q - p - 1;
}

/// Diagonalises the matrices A in place. Returns whether all lanes converged.
///
/// `diagonal`: the diagonal of A, replaced by the eigenvalues in ascending order. `off`: the entries above the
/// diagonal, at the indices given by `above`; overwritten. `vectors`: [row][column], set to the eigenvectors if
/// `compute_vectors`. `size`: the largest entry of each matrix, as in `Scale::size`.
template <typename T, bool is_complex, int n, bool compute_vectors>
SPECTRALGRAD_INLINE bool jacobi(
    Vec<T> (&diagonal)[n],
    Entry<T, is_complex> (&off)[n * (n - 1) / 2 + 1],
    Entry<T, is_complex> (&vectors)[n][n],
    const Vec<T>& size) {
  using E = Entry<T, is_complex>;
  const Vec<T> zero(T(0));
  if constexpr (compute_vectors) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        const Vec<T> value(T(i == j ? 1 : 0));
        if constexpr (is_complex) {
          vectors[i][j] = {value, zero};
        } else {
          vectors[i][j] = value;
        }
      }
    }
  }
  constexpr int late = 8;
  constexpr int most_sweeps = 64;
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    const auto floor = negligible_floor<T>(sweep >= late, size);
#pragma GCC unroll 8
    for (int p = 0; p < n; ++p) {
#pragma GCC unroll 8
      for (int q = p + 1; q < n; ++q) {
        const E a = off[above<n>(p, q)];
        const auto a_squared = squared(a);
        const auto negligible = is_negligible<T>(a_squared, diagonal[p], diagonal[q], floor);
        const auto R = rotation<T, is_complex>(diagonal[p], diagonal[q], a, a_squared, negligible);
        diagonal[p] = R.low;
        diagonal[q] = R.high;
        off[above<n>(p, q)] = zero_entry<T, is_complex>();
#pragma GCC unroll 8
        for (int r = 0; r < n; ++r) {
          if (r == p || r == q) {
            continue;
          }
          // Row r in columns p and q; only entries above the diagonal are stored.
          E x = r < p ? off[above<n>(r, p)] : conj(off[above<n>(p, r)]);
          E y = r < q ? off[above<n>(r, q)] : conj(off[above<n>(q, r)]);
          rotate<T, is_complex>(R, x, y);
          (r < p ? off[above<n>(r, p)] : off[above<n>(p, r)]) = r < p ? x : conj(x);
          (r < q ? off[above<n>(r, q)] : off[above<n>(q, r)]) = r < q ? y : conj(y);
        }
        if constexpr (compute_vectors) {
#pragma GCC unroll 8
          for (int r = 0; r < n; ++r) {
            rotate<T, is_complex>(R, vectors[r][p], vectors[r][q]);
          }
        }
      }
    }
    if constexpr (n < 3) {
      return true;
    }
    auto unfinished = zero;
#pragma GCC unroll 8
    for (int p = 0; p < n; ++p) {
#pragma GCC unroll 8
      for (int q = p + 1; q < n; ++q) {
        const auto negligible = is_negligible<T>(squared(off[above<n>(p, q)]), diagonal[p], diagonal[q], floor);
        unfinished = unfinished | negation<T>(negligible) | (diagonal[q] < diagonal[p]);
      }
    }
    if (!any<T>(unfinished)) {
      return true;
    }
  }
  return false;
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
