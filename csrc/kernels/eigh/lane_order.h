#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/eigh/householder.h"
#include "kernels/simd/arithmetic.h"
#include "kernels/simd/exchange.h"

// The rows of graded matrices in ascending order, in the lanes that need it; kernels/eigh/row_order.h for LAPACK.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Finds out whether a row is much smaller than one before it.
template <typename T>
class Descent {
 public:
  /// Adds the largest entry of the next row.
  SPECTRALGRAD_INLINE void add(const Vec<T>& row) {
    found_ = found_ | (row * Vec<T>(static_cast<T>(graded_rows)) < most_);
    most_ = larger(most_, row);
  }
  SPECTRALGRAD_INLINE Mask<T> found() const {
    return found_;
  }

 private:
  Mask<T> found_{T(0)};
  Vec<T> most_{T(0)};
};

/// Writes the largest entry of each row to `norms`, n registers. Returns in which lanes they descend.
template <typename T, bool is_complex>
__attribute__((noinline)) Mask<T> find_norms(const Group<T, is_complex>& group, T* norms) {
  constexpr int W = lane_count<T>;
  for (int i = 0; i < group.n; ++i) {
    Vec<T> norm(T(0));
    for (int j = 0; j <= i; ++j) {
      const auto size = abs_lower_bound(load_entry<T, is_complex>(group.at(group.A, i, j)));
      norm = larger(norm, size);
      if (j < i) {
        store(norms + j * W, larger(load(norms + j * W), size));
      }
    }
    store(norms + i * W, norm);
  }
  Descent<T> descent;
  for (int i = 0; i < group.n; ++i) {
    descent.add(load(norms + i * W));
  }
  return descent.found();
}

/// The order of the rows and columns of the matrix in each lane.
///
/// The reduction begins with the last row, and QL ends with the first one. So small eigenvalues of a graded matrix keep
/// their relative accuracy only if its large entries come last. R. S. Martin, C. Reinsch and J. H. Wilkinson,
/// Householder's tridiagonalization of a symmetric matrix, Numer. Math. 11, 181-195 (1968), section 4.
template <typename T>
class LaneOrder {
 public:
  /// Sorts the rows of one lane. `order` has the ascending order of the norms in every lane (`sort_lanes`).
  void sort_lane(int n, const T* order, int lane) {
    for (int i = 0; i < n; ++i) {
      rows_[lane][i] = static_cast<int>(order[i * lane_count<T> + lane]);
    }
    is_sorted_[lane] = true;
  }
  bool is_sorted(int lane) const {
    return is_sorted_[lane];
  }
  /// The index in the matrix of row i of a sorted lane.
  int operator()(int lane, int i) const {
    return rows_[lane][i];
  }

 private:
  bool is_sorted_[lane_count<T>] = {};
  int rows_[lane_count<T>][largest_n];
};

/// Loads matrix `index` into one lane, with its rows and columns in `order`.
template <typename T, bool is_complex>
__attribute__((noinline)) void load_in_order(
    const EighBatch<T>& batch,
    int64_t index,
    const Group<T, is_complex>& group,
    int lane,
    const LaneOrder<T>& order) {
  const int n = batch.n;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      const int p = order(lane, i);
      const int q = order(lane, j);
      // Only one triangle is read; an entry of the other triangle is the conjugate.
      const bool reads = batch.upper ? p <= q : p >= q;
      const T* from = batch.matrices + (index * n * n + (reads ? p * n + q : q * n + p)) * group.parts;
      T* to = group.at(group.A, i, j) + lane;
      to[0] = from[0];
      if constexpr (is_complex) {
        to[lane_count<T>] = i == j ? T(0) : reads ? from[1] : -from[1];
      }
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
