#pragma once

#include "core/scalar_traits.h"
#include "kernels/eigh/simd_eigh.h"

#include <algorithm>
#include <cmath>
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
template <typename scalar_t>
class RowOrder {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  explicit RowOrder(int64_t n) : n_(n), norms_(static_cast<size_t>(n)) {}

  /// Finds the order for one row-major matrix. `upper` names the triangle of A that is read, `to_upper` the triangle
  /// that LAPACK gets, column by column. Returns false if the rows need no sorting.
  bool find(const scalar_t* A, bool upper, bool to_upper) {
    find_norms(A, upper);
    real_t most = 0;
    bool descends = false;
    for (int64_t i = 0; i < n_ && !descends; ++i) {
      const auto here = norm(to_upper ? i : n_ - 1 - i);
      descends = simd::graded_rows * here < most;
      most = std::max(most, here);
    }
    if (!descends) {
      return false;
    }
    order_.resize(norms_.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t i, int64_t j) {
      return to_upper ? norm(i) < norm(j) : norm(j) < norm(i);
    });
    return true;
  }

  /// The index in A of row i of the sorted matrix.
  int64_t operator[](int64_t i) const {
    return order_[static_cast<size_t>(i)];
  }

  /// Entry (i, j) of the sorted matrix.
  scalar_t entry(const scalar_t* A, bool upper, int64_t i, int64_t j) const {
    const auto p = (*this)[i];
    const auto q = (*this)[j];
    const bool is_read = upper ? p <= q : p >= q;
    return is_read ? A[p * n_ + q] : conjugate(A[q * n_ + p]);
  }

  /// Copies a vector of the sorted matrix to the order of the rows of A.
  void restore(const scalar_t* from, scalar_t* to) const {
    for (int64_t i = 0; i < n_; ++i) {
      to[(*this)[i]] = from[i];
    }
  }

 private:
  real_t norm(int64_t i) const {
    return norms_[static_cast<size_t>(i)];
  }

  /// Finds the largest entry of each row.
  void find_norms(const scalar_t* A, bool upper) {
    constexpr auto parts = parts_of<scalar_t>;
    std::fill(norms_.begin(), norms_.end(), real_t(0));
    for (int64_t i = 0; i < n_; ++i) {
      const auto* row = reinterpret_cast<const real_t*>(A + i * n_);
      real_t largest = std::abs(row[i * parts]);
      for (int64_t j = upper ? i + 1 : 0; j < (upper ? n_ : i); ++j) {
        auto size = std::abs(row[j * parts]);
        if constexpr (parts == 2) {
          size = std::max(size, std::abs(row[j * parts + 1]));
        }
        auto& column_norm = norms_[static_cast<size_t>(j)];
        column_norm = std::max(column_norm, size);
        largest = std::max(largest, size);
      }
      auto& row_norm = norms_[static_cast<size_t>(i)];
      row_norm = std::max(row_norm, largest);
    }
  }

  int64_t n_;
  std::vector<real_t> norms_;
  std::vector<int64_t> order_;
};

} // namespace spectralgrad::kernels
