#pragma once

#include "kernels/batch_layout.h"
#include "kernels/judge.h"
#include "kernels/lanes/gap_pass.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace spectralgrad::kernels {

/// |X| of one matrix, column by column, of the columns that are asked for.
template <typename scalar_t>
class ColumnSizes {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  ColumnSizes(const at::Tensor& X, int64_t matrix)
      : X_(matrices<real_t>(X, matrix)), n_(X.size(-1)), columns_(static_cast<size_t>(n_)) {}

  const real_t* operator()(int64_t column) {
    if (!columns_[static_cast<size_t>(column)]) {
      fill({column});
    }
    return columns_[static_cast<size_t>(column)].get();
  }

  /// All at once: of a matrix that lies row by row, each column by itself costs nearly as much as all.
  void fill(const std::vector<int64_t>& wanted) {
    std::vector<int64_t> missing;
    std::vector<real_t*> to;
    for (const auto column : wanted) {
      auto& memory = columns_[static_cast<size_t>(column)];
      if (!memory) {
        memory.reset(new real_t[static_cast<size_t>(n_)]);
        missing.push_back(column);
        to.push_back(memory.get());
      }
    }
    if (!missing.empty()) {
      const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
      constexpr bool is_complex = !std::is_same_v<scalar_t, real_t>;
      kernel.column_sizes(X_, is_complex, missing.data(), static_cast<int64_t>(missing.size()), to.data(), 0, n_);
    }
  }

 private:
  lanes::Matrices<real_t> X_;
  int64_t n_;
  std::vector<std::unique_ptr<real_t[]>> columns_;
};

/// N = |V|^T |gV| + its transpose of one matrix, entry by entry on demand; both as from `by_rows_or_columns`.
template <typename scalar_t>
class CotangentMagnitude {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  CotangentMagnitude(const at::Tensor& V, const at::Tensor& gV, int64_t matrix)
      : n_(V.size(-1)), V_(V, matrix), gV_(gV, matrix) {}

  real_t operator()(int64_t i, int64_t j) {
    return up_to(std::numeric_limits<real_t>::infinity(), i, j);
  }

  /// Whether it is no less than `least`: of rounding, a tenth of the sum tells.
  bool is_at_least(real_t least, int64_t i, int64_t j) {
    // A little more, for what the sum is rounded to.
    return least <= up_to(least * real_t(1.01), i, j);
  }

  /// Of these columns entries will be asked for.
  void prepare(const std::vector<int64_t>& columns) {
    V_.fill(columns);
    gV_.fill(columns);
  }

 private:
  real_t up_to(real_t enough, int64_t i, int64_t j) {
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
    return kernel.two_products(V_(i), gV_(j), V_(j), gV_(i), n_, enough);
  }

  int64_t n_;
  ColumnSizes<scalar_t> V_;
  ColumnSizes<scalar_t> gV_;
};

} // namespace spectralgrad::kernels
