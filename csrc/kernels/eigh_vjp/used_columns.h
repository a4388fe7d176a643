#pragma once

#include "kernels/eigh_vjp/gap_pass.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

// Finds the eigenvectors with a nonzero cotangent; the others are skipped.
namespace spectralgrad::kernels {

/// A nonempty, ascending subset of n columns.
class Columns {
 public:
  Columns(std::vector<int64_t> which, int64_t n)
      : which_(std::move(which)),
        place_(static_cast<size_t>(n), -1),
        adjacent_(which_.back() - which_.front() + 1 == size()) {
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
    return adjacent_ ? x.narrow(dim, which_.front(), size()) : x.index_select(dim, index(x));
  }
  at::Tensor index(const at::Tensor& x) const {
    auto result = at::empty({size()}, x.options().dtype(at::kLong));
    std::copy(which_.begin(), which_.end(), result.mutable_data_ptr<int64_t>());
    return result;
  }

  std::vector<int64_t> which_;
  std::vector<int64_t> place_;
  bool adjacent_;
};

/// Upper bounds of the norms of gV's columns, (count, n). The bound of a zero column is zero.
template <typename real_t>
at::Tensor norm_bounds(const at::Tensor& gV) {
  const auto count = gV.size(0);
  const auto n = gV.size(-1);
  const auto bytes = n * n * gV.element_size();
  // Each part is a range of rows, because the threads that wrote gV by rows still have them in their caches.
  const auto parts = std::clamp<int64_t>(bytes >> 17, 1, 16);
  const auto rows = (n + parts - 1) / parts;
  const auto options = gV.options().dtype(c10::CppTypeToScalarType<real_t>::value);
  const auto sums = at::empty({2, count, parts, n}, options);
  const auto norms = at::empty({count, n}, options);
  auto* sum = sums.template mutable_data_ptr<real_t>();
  auto* largest = sum + count * parts * n;
  const auto& kernel = simd::for_this_machine<simd::GapPassKernel<real_t>>();
  // Reading an entry is less work than dividing it. So 16 bytes count as one entry.
  for_each_part(count, parts, bytes / parts / 16, [&](int64_t i, int64_t begin, int64_t end) {
    for (auto part = begin; part < end; ++part) {
      const auto at = (i * parts + part) * n;
      const auto row = std::min(n, part * rows);
      const auto row_end = std::min(n, row + rows);
      kernel.column_sums(matrices<real_t>(gV, i), n, gV.is_complex(), row, row_end, sum + at, largest + at);
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const auto at = i * parts * n;
    auto* to = norms.template mutable_data_ptr<real_t>() + i * n;
    kernel.norm_bounds(sum + at, largest + at, parts, n, gV.is_complex(), to);
  }
  return norms;
}

/// The columns with a nonzero cotangent in any matrix of the batch, ascending.
template <typename real_t>
std::vector<int64_t> used_columns(const at::Tensor& norms, const at::Tensor& gL) {
  const auto n = norms.size(-1);
  const auto count = norms.size(0);
  std::vector<bool> is_used(static_cast<size_t>(n));
  for (int64_t i = 0; i < count; ++i) {
    const auto* norms_of_gV = row<real_t>(norms, i, n);
    const auto* gL_row = row<real_t>(gL, i, n);
    for (int64_t j = 0; j < n; ++j) {
      if (norms_of_gV[j] != 0 || (gL_row != nullptr && gL_row[j] != 0)) {
        is_used[static_cast<size_t>(j)] = true;
      }
    }
  }
  std::vector<int64_t> used;
  for (int64_t j = 0; j < n; ++j) {
    if (is_used[static_cast<size_t>(j)]) {
      used.push_back(j);
    }
  }
  return used;
}

} // namespace spectralgrad::kernels
