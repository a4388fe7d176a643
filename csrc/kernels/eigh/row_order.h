#pragma once

#include "kernels/eigh/eigh_batch.h"
#include "kernels/eigh/hermitian_matrix.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace spectralgrad::kernels {

/// The order in which LAPACK gets the rows and columns of a graded Hermitian matrix.
///
/// LAPACK reduces an upper triangle from the last row on, and a lower one from the first. Small eigenvalues of a graded
/// matrix keep their relative accuracy only if the reduction begins at the end with the large entries. R. S. Martin, C.
/// Reinsch and J. H. Wilkinson, Householder's tridiagonalization of a symmetric matrix, Numer. Math. 11, 181-195
/// (1968), section 4.
class RowOrder {
 public:
  /// `norms` (n): those of the rows. `to_upper`: whether LAPACK gets the upper triangle, column by column.
  template <typename real_t>
  RowOrder(const std::vector<real_t>& norms, bool to_upper) {
    const auto n = static_cast<int64_t>(norms.size());
    const auto norm = [&](int64_t i) {
      return norms[static_cast<size_t>(i)];
    };
    real_t most = 0;
    bool descends = false;
    for (int64_t i = 0; i < n && !descends; ++i) {
      const auto here = norm(to_upper ? i : n - 1 - i);
      descends = simd::graded_rows * here < most;
      most = std::max(most, here);
    }
    if (!descends) {
      return;
    }
    rows_.resize(norms.size());
    std::iota(rows_.begin(), rows_.end(), 0);
    std::stable_sort(rows_.begin(), rows_.end(), [&](int64_t i, int64_t j) {
      return to_upper ? norm(i) < norm(j) : norm(j) < norm(i);
    });
  }

  /// Whether the rows must be sorted. The functions below are only for that case.
  bool sorts() const {
    return !rows_.empty();
  }

  /// The index in A of each row of the sorted matrix.
  const std::vector<int64_t>& rows() const {
    return rows_;
  }
  int64_t operator[](int64_t i) const {
    return rows_[static_cast<size_t>(i)];
  }

  /// Entry (i, j) of the sorted matrix.
  template <typename scalar_t>
  scalar_t entry(const HermitianMatrix<scalar_t>& A, int64_t i, int64_t j) const {
    return A((*this)[i], (*this)[j]);
  }

  /// Copies a vector of the sorted matrix to the order of the rows of A.
  template <typename scalar_t>
  void restore(const scalar_t* from, scalar_t* to) const {
    for (size_t i = 0; i < rows_.size(); ++i) {
      to[rows_[i]] = from[i];
    }
  }

 private:
  std::vector<int64_t> rows_;
};

} // namespace spectralgrad::kernels
