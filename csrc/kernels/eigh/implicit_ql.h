#pragma once

#include "kernels/eigh/rotations.h"

// The implicit QL algorithm on real symmetric tridiagonal matrices, one in each lane.
//
// A. Dubrulle, R. S. Martin and J. H. Wilkinson, The implicit QL algorithm, Numer. Math. 12, 377-383 (1968).
//
// All lanes sweep in step, each over its own current block; outside its block a lane applies the identity. Several
// groups of lanes are interleaved, because a sweep is a long chain of dependent square roots and divisions.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The diagonal block that each lane of one group works on.
template <typename T>
struct Block {
  // The first and the last index of the block; n and -1 in lanes that have converged.
  Vec<T> first;
  Vec<T> last;
  Vec<T> shift;
  Vec<T> d_last; // the last diagonal entry of the block
};

/// Sets negligible off-diagonal entries to zero. Returns the uppermost block that is not diagonal yet, and its shift.
template <typename T>
SPECTRALGRAD_INLINE Block<T> next_block(int n, T* d, T* e, int stride, const Vec<T>& floor) {
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  auto below = load(d + (n - 1) * stride);
  Block<T> block{Vec<T>(T(n)), Vec<T>(T(-1)), zero, zero};
  Vec<T> end(T(n - 1));
  auto d_end = below;
  auto d_first = zero;
  auto d_second = zero;
  auto e_first = one;
  for (int i = n - 2; i >= 0; --i) {
    const auto here = load(d + i * stride);
    const auto beside = load(e + i * stride);
    const auto negligible = is_negligible<T>(beside * beside, here, below, floor);
    const Vec<T> index((T(i)));
    store(e + i * stride, select(negligible, zero, beside));
    end = select(negligible, index, end);
    d_end = select(negligible, here, d_end);
    block.first = select(negligible, block.first, index);
    block.last = select(negligible, block.last, end);
    block.d_last = select(negligible, block.d_last, d_end);
    d_first = select(negligible, d_first, here);
    d_second = select(negligible, d_second, below);
    e_first = select(negligible, e_first, beside);
    below = here;
  }
  // Wilkinson's shift: the eigenvalue of the leading 2 x 2 matrix that is nearer to its first entry.
  const auto ratio = (d_second - d_first) / (e_first + e_first);
  const auto root = fma(ratio, ratio, one).sqrt();
  block.shift = d_first - e_first / (ratio + with_sign_of(ratio, root));
  return block;
}

/// Computes the eigenvalues of tridiagonal matrices in `groups` groups of lanes. Returns whether all lanes converged.
///
/// `d`: the diagonals, n vectors for each group; the eigenvalues replace them, unordered. `e`: the off-diagonals, n - 1
/// vectors for each group in memory for n; overwritten. The vector of group g in row i is the one at i * groups + g.
/// `columns`: one matrix for each group, to be multiplied from the right by the matrix of eigenvectors, or null.
/// `rotations`: workspace, only used with `columns`. `size`: the largest entry of each matrix, as in `Scale::size`.
template <typename T, int parts, int groups>
bool implicit_ql(
    int n,
    T* d,
    T* e,
    const Columns<T, parts>* columns,
    const Rotations<T>* rotations,
    const Vec<T> (&size)[groups]) {
  constexpr int W = lane_count<T>;
  constexpr int stride = groups * W;
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  const Vec<T> nothing(Tolerance<T>::nothing);
  Range ranges[sweeps_at_once];
  int recorded = 0;
  const auto apply = [&] {
    if (recorded % 2 == 1) {
      const auto range = ranges[recorded - 1];
      for (int g = 0; g < groups; ++g) {
        for (int i = range.begin; i < range.end; ++i) {
          rotations[g].put(recorded, i, one, zero);
        }
      }
    }
    if (recorded > 0) {
      for (int g = 0; g < groups; ++g) {
        apply_sweeps(columns[g], rotations[g], ranges, recorded);
      }
    }
    recorded = 0;
  };
  const int late = 8 * n;
  const int most_sweeps = 32 * n;
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    Block<T> block[groups];
    auto first = Vec<T>(T(n));
    auto last = Vec<T>(T(-1));
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      block[g] = next_block<T>(n, d + g * W, e + g * W, stride, negligible_floor<T>(sweep >= late, size[g]));
      first = smaller(first, block[g].first);
      last = larger(last, block[g].last);
    }
    T firsts[W];
    T lasts[W];
    store(firsts, first);
    store(lasts, last);
    Range range{n, -1};
    for (int lane = 0; lane < W; ++lane) {
      range.begin = firsts[lane] < T(range.begin) ? static_cast<int>(firsts[lane]) : range.begin;
      range.end = lasts[lane] > T(range.end) ? static_cast<int>(lasts[lane]) : range.end;
    }
    if (range.end < 0) {
      if (columns != nullptr) {
        apply();
      }
      return true;
    }
    Vec<T> x[groups];
    Vec<T> c[groups];
    Vec<T> s[groups];
    Vec<T> p[groups];
    for (int g = 0; g < groups; ++g) {
      x[g] = block[g].d_last - block[g].shift;
      c[g] = one;
      s[g] = one;
      p[g] = zero;
    }
    for (int i = range.end - 1; i >= range.begin; --i) {
      const Vec<T> index((T(i)));
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) {
        T* d_i = d + i * stride + g * W;
        T* e_i = e + i * stride + g * W;
        const auto d_here = load(d_i);
        const auto d_below = load(d_i + stride);
        const auto e_here = load(e_i);
        const auto e_below = load(e_i + stride);
        const auto active = (block[g].first <= index) & (index < block[g].last);
        const auto f = s[g] * e_here;
        const auto b = c[g] * e_here;
        const auto squares = fma(f, f, x[g] * x[g]);
        // If the squares may have underflowed, the rotation would not be orthogonal. The lane then applies the
        // identity, and the off-diagonal entry becomes zero, which splits the matrix here.
        const auto turns = nothing < squares;
        const auto r = squares.sqrt();
        const auto reciprocal = one / r;
        const auto sine = where(turns, f * reciprocal);
        const auto cosine = select(turns, x[g] * reciprocal, one);
        const auto inner = active & (index + one < block[g].last);
        store(e_i + stride, select(inner, where(turns, r), e_below));
        const auto shifted = d_below - p[g];
        const auto t = fma(d_here - shifted, sine, (cosine + cosine) * b);
        const auto p_next = sine * t;
        const auto x_next = fms(cosine, t, b);
        const auto top = active & (block[g].first == index);
        store(d_i + stride, select(active, shifted + p_next, d_below));
        store(d_i, select(top, d_here - p_next, d_here));
        store(e_i, select(top, x_next, e_here));
        x[g] = select(active, x_next, x[g]);
        p[g] = select(active, p_next, p[g]);
        c[g] = select(active, cosine, c[g]);
        s[g] = select(active, sine, s[g]);
        if (columns != nullptr) {
          rotations[g].put(recorded, i, select(active, cosine, one), where(active, sine));
        }
      }
    }
    if (columns == nullptr) {
      continue;
    }
    ranges[recorded] = range;
    if (recorded % 2 == 1) {
      // The two sweeps of a pair are applied together, over the union of their ranges; identities fill the gaps.
      Range& before = ranges[recorded - 1];
      const Range both{
          before.begin < range.begin ? before.begin : range.begin,
          before.end > range.end ? before.end : range.end};
      const auto widen = [&](int which, Range from) {
        for (int i = both.begin; i < both.end; ++i) {
          for (int g = 0; g < groups && (i < from.begin || i >= from.end); ++g) {
            rotations[g].put(which, i, one, zero);
          }
        }
      };
      widen(recorded - 1, before);
      widen(recorded, range);
      before = both;
    }
    if (++recorded == sweeps_at_once) {
      apply();
    }
  }
  return false;
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
