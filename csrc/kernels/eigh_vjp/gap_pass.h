#pragma once

#include "kernels/eigh_vjp/block_pairs.h"
#include "kernels/simd/capability.h"
#include "kernels/simd/matrices.h"
#include "math/pairs/inverse_gap.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// Dividing W = V^H gV by gaps, n columns of it; complex numbers as pairs of real ones.
template <typename T>
struct GapPass {
  int64_t n;
  bool is_complex;
  T* W; // row by row, in place
  const T* eigenvalues; // n, of the columns
  const T* eigenvalues_cotangent; // n, or null
  math::GapRule<T> rule;
  T largest; // max|lambda| of all eigenvalues
  // For rules that gate, else zero and null.
  math::NoiseGate<T> gate;
  const T* norms; // n: those of gV's columns, or more
  const T* clusters; // n: the number of each eigenvalue's cluster, or null where each has its own
  T floor; // the round-off of the matrix: entries inside clusters are dropped up to this
  /// Receives each entry for which no bound of N decides whether it is dropped: its place, the size of its skew-Hermitian part,
  /// and whether it is inside a cluster. The pass keeps the entry.
  void (*undecided)(void* context, int64_t i, int64_t j, T size, bool inside_cluster);
  void* context;
};

template <typename T>
struct GapPassKernel {
  /// W (n x n) becomes diag(g_lambda) + F o S, S its skew-Hermitian part: a pair of blocks that begin at multiples of 16.
  void (*divide)(const GapPass<T>&, const BlockPair&);
  /// For columns that are not all there are, rows of eigenvalues that have no column: twice F o S, the part across the diagonal
  /// being zero. Rows from `begin` to `end` of those that `has_column` does not have.
  void (*divide_rows)(
      const GapPass<T>&,
      const T* eigenvalues_of_rows,
      const T* clusters_of_rows, // n, or null as the pass's own
      const bool* has_column,
      int64_t begin,
      int64_t end);
  /// Of the sizes of the entries of each column of an n x n matrix the sum and the largest, n each; rows from `begin` to `end`.
  void (*column_sums)(const Matrices<T>&, int64_t n, bool is_complex, int64_t begin, int64_t end, T* sums, T* largest);
  /// From those of `parts` parts of the rows, one after the other, a number for each column that is no less than its norm, and zero
  /// if it has none.
  void (*norm_bounds)(const T* sums, const T* largest, int64_t parts, int64_t n, bool is_complex, T* norms);
  /// The sizes of the entries of some columns of an n x n matrix, each column to a place of its own; rows from `begin` to `end`.
  void (*column_sizes)(
      const Matrices<T>&,
      bool is_complex,
      const int64_t* columns,
      int64_t count,
      T* const* sizes,
      int64_t begin,
      int64_t end);
  /// sum_k a_k b_k + c_k d_k
  T (*two_products)(const T* a, const T* b, const T* c, const T* d, int64_t n);
  /// (X + X^H)/2, in place, of a matrix n x n, row by row; blocks as for `divide`. `from_upper`: outside the tiles on the diagonal,
  /// only what is above it is known.
  void (*make_hermitian)(T* X, int64_t n, bool is_complex, bool from_upper, const BlockPair&);

  SPECTRALGRAD_OF_EACH_CAPABILITY(GapPassKernel)
};

} // namespace spectralgrad::kernels::simd
