#pragma once

#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/simd_columns.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace spectralgrad::kernels {

/// The absolute values |X_ij| of one matrix, computed for a column when it is first requested.
template <typename scalar_t>
class ColumnSizes {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  /// A column is computed for its first `first_rows` rows, or for all of them.
  ColumnSizes(const at::Tensor& X, int64_t matrix, int64_t first_rows)
      : X_(matrices<real_t>(X, matrix)),
        rows_(X.size(-2)),
        first_rows_(first_rows),
        columns_(static_cast<size_t>(X.size(-1))) {}

  const real_t* whole_column(int64_t column) {
    if (columns_[static_cast<size_t>(column)].rows < rows_) {
      fill({column}, rows_);
    }
    return known(column);
  }

  /// The column as far as it has been computed.
  const real_t* known(int64_t column) const {
    return columns_[static_cast<size_t>(column)].sizes;
  }

  /// Computes the first `rows` rows of all `wanted` columns. In one pass, because one column of a row-major matrix
  /// costs nearly as much as all.
  void fill(const std::vector<int64_t>& wanted, int64_t rows) {
    for (const int64_t begin : {int64_t(0), first_rows_}) {
      std::vector<int64_t> missing;
      for (const auto column : wanted) {
        const auto& entry = columns_[static_cast<size_t>(column)];
        if (entry.rows == begin && begin < rows) {
          missing.push_back(column);
        }
      }
      if (!missing.empty()) {
        if (begin == 0) {
          memory_.emplace_back(new real_t[missing.size() * static_cast<size_t>(rows_)]);
        }
        std::vector<real_t*> to;
        for (const auto column : missing) {
          auto& entry = columns_[static_cast<size_t>(column)];
          if (begin == 0) {
            entry.sizes = memory_.back().get() + static_cast<int64_t>(to.size()) * rows_;
          }
          entry.rows = rows;
          to.push_back(entry.sizes);
        }
        const auto& kernel = simd::for_this_machine<simd::ColumnKernel<real_t>>();
        const auto count = static_cast<int64_t>(missing.size());
        kernel.sizes(X_, parts_of<scalar_t> == 2, missing.data(), count, to.data(), begin, rows);
      }
    }
  }

 private:
  struct Column {
    real_t* sizes = nullptr;
    int64_t rows = 0;
  };

  simd::Matrices<real_t> X_;
  int64_t rows_;
  int64_t first_rows_;
  std::vector<Column> columns_;
  std::vector<std::unique_ptr<real_t[]>> memory_;
};

/// Computes single entries of N = |V|^T |gV| + (|V|^T |gV|)^T of one matrix. V and gV (rows, n) are laid out as
/// `by_rows_or_columns` does.
template <typename scalar_t>
class CotangentMagnitude {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  CotangentMagnitude(const at::Tensor& V, const at::Tensor& gV, int64_t matrix)
      : rows_(V.size(-2)),
        first_rows_(std::min(rows_, std::max<int64_t>(32, rows_ / 8))),
        V_(V, matrix, first_rows_),
        gV_(gV, matrix, first_rows_) {}

  real_t operator()(int64_t i, int64_t j) {
    return sum(V_.whole_column(i), gV_.whole_column(j), V_.whole_column(j), gV_.whole_column(i), rows_);
  }

  /// Precomputes what `lower_bound` needs for these columns.
  void prepare(const std::vector<int64_t>& columns) {
    V_.fill(columns, first_rows_);
    gV_.fill(columns, first_rows_);
  }
  /// Precomputes what N needs for these columns.
  void prepare_whole(const std::vector<int64_t>& columns) {
    V_.fill(columns, rows_);
    gV_.fill(columns, rows_);
  }
  /// A lower bound of N_ij, the first rows of the sum. It usually decides: actual round-off is about a tenth of the
  /// threshold.
  real_t lower_bound(int64_t i, int64_t j) const {
    return sum(V_.known(i), gV_.known(j), V_.known(j), gV_.known(i), first_rows_);
  }

 private:
  static real_t sum(const real_t* a, const real_t* b, const real_t* c, const real_t* d, int64_t rows) {
    return simd::for_this_machine<simd::ColumnKernel<real_t>>().two_products(a, b, c, d, rows);
  }

  int64_t rows_;
  int64_t first_rows_;
  ColumnSizes<scalar_t> V_;
  ColumnSizes<scalar_t> gV_;
};

} // namespace spectralgrad::kernels
