#pragma once

#include "derivatives/inverse_gap.h"
#include "kernels/lanes/capability.h"
#include "kernels/lanes/matrices.h"

#include <cstdint>

namespace spectralgrad::kernels::lanes {

/// One matrix W = V^H gV that becomes diag(g_lambda) + F o S, S its skew-Hermitian part; complex numbers as pairs of real ones.
template <typename T>
struct GapPass {
  int64_t n;
  bool is_complex;
  T* W; // n x n, row by row, in place
  const T* eigenvalues; // n, ascending
  const T* eigenvalues_cotangent; // n, or null
  derivatives::GapRule<T> rule;
  // For rules that gate, else zero and null.
  T noise; // fraction of N up to which an entry is rounding
  const T* norms; // `norm_bounds` of W as it was
  Matrices<T> V;
  Matrices<T> gV;
  /// |V| and |gV|, n x n, row by row: called for when there are many entries that cannot be told from rounding otherwise.
  struct Sizes {
    const T* V;
    const T* gV;
  };
  Sizes (*sizes)(void* context);
  void* context;
};

template <typename T>
struct GapPassKernel {
  /// Rows of a tile: the unit of the functions below.
  int rows;
  /// Rows from `begin` to `end`, in tiles, and the columns below them.
  void (*divide)(const GapPass<T>&, int64_t begin, int64_t end);
  /// For each column of a matrix n x n, row by row, a number that is no less than its norm, which is that of the column of gV.
  void (*norm_bounds)(const T* W, int64_t n, bool is_complex, T* norms);
  /// (X + X^H)/2, in place, of a matrix n x n, row by row; the same rows. `from_lower`: outside the tiles on the diagonal, only what
  /// is below it is known.
  void (*make_hermitian)(T* X, int64_t n, bool is_complex, bool from_lower, int64_t begin, int64_t end);

  SPECTRALGRAD_OF_EACH_CAPABILITY(GapPassKernel)
};

} // namespace spectralgrad::kernels::lanes
