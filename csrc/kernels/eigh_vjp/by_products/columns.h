#pragma once

#include "kernels/simd/batch_layout.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

// Finds the eigenvectors with a nonzero cotangent; the others are skipped.
namespace spectralgrad::kernels {

/// The indices that are set, ascending.
inline std::vector<int64_t> selected(const std::vector<bool>& flags) {
  std::vector<int64_t> result;
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i]) {
      result.push_back(static_cast<int64_t>(i));
    }
  }
  return result;
}

/// An ascending subset of n columns, empty by default.
class Columns {
 public:
  Columns() = default;
  Columns(std::vector<int64_t> which, int64_t n)
      : which_(std::move(which)),
        place_(static_cast<size_t>(n), -1),
        adjacent_(which_.empty() || which_.back() - which_.front() + 1 == size()) {
    for (int64_t i = 0; i < size(); ++i) {
      place_[static_cast<size_t>(which_[static_cast<size_t>(i)])] = i;
    }
  }

  int64_t size() const {
    return static_cast<int64_t>(which_.size());
  }
  int64_t operator[](int64_t i) const {
    return which_[static_cast<size_t>(i)];
  }
  /// The position of a column in the subset, or -1.
  int64_t place(int64_t column) const {
    return place_[static_cast<size_t>(column)];
  }

  /// Selects these columns of `x` (*, n); a view if they are adjacent.
  at::Tensor of(const at::Tensor& x) const {
    return part(x, -1);
  }
  /// Selects the same rows of `x`; a view if they are adjacent.
  at::Tensor gather_rows(const at::Tensor& x) const {
    return part(x, -2);
  }
  /// Writes `rows`, from `gather_rows(x)`, back to `x`. A view needs no copy.
  void put_rows(const at::Tensor& x, const at::Tensor& rows) const {
    if (!adjacent_) {
      x.index_copy_(-2, index(x), rows);
    }
  }

 private:
  at::Tensor part(const at::Tensor& x, int64_t dim) const {
    if (which_.size() == place_.size()) {
      return x;
    }
    return adjacent_ ? x.narrow(dim, which_.front(), size()) : x.index_select(dim, index(x));
  }
  at::Tensor index(const at::Tensor& x) const {
    auto result = at::empty({size()}, x.options().dtype(at::kLong));
    std::copy(which_.begin(), which_.end(), result.mutable_data_ptr<int64_t>());
    return result;
  }

  std::vector<int64_t> which_;
  std::vector<int64_t> place_;
  bool adjacent_ = true;
};

/// The columns with a nonzero cotangent in any matrix of the batch, ascending. `norms` (count, n) are those of gV's
/// columns.
template <typename real_t>
std::vector<int64_t> used_columns(const at::Tensor& norms, const at::Tensor& gL) {
  const auto n = norms.size(-1);
  std::vector<bool> is_used(static_cast<size_t>(n));
  for (int64_t i = 0; i < norms.size(0); ++i) {
    const auto* norms_of_gV = row<real_t>(norms, i, n);
    const auto* gL_row = row<real_t>(gL, i, n);
    for (int64_t j = 0; j < n; ++j) {
      if (norms_of_gV[j] != 0 || (gL_row != nullptr && gL_row[j] != 0)) {
        is_used[static_cast<size_t>(j)] = true;
      }
    }
  }
  return selected(is_used);
}

} // namespace spectralgrad::kernels
