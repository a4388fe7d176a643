#pragma once

#include "core/all_finite.h"
#include "core/scalar_traits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace spectralgrad::kernels {

/// A row-major Hermitian matrix (n, n), and what is asked about it before it is decomposed. Only the triangle that
/// `upper` selects is read. The imaginary part of the diagonal counts as zero and is not read.
///
/// The SIMD kernels find non-finite and graded matrices themselves, while the entries are in registers.
template <typename scalar_t>
struct HermitianMatrix {
  using real_t = typename RealOf<scalar_t>::type;
  static constexpr auto parts = parts_of<scalar_t>;

  const scalar_t* data;
  int64_t n;
  bool upper;

  scalar_t operator()(int64_t i, int64_t j) const {
    const bool is_read = upper ? i <= j : i >= j;
    return is_read ? data[i * n + j] : conjugate(data[j * n + i]);
  }
  real_t diagonal(int64_t i) const {
    return real_part(data[i * (n + 1)]);
  }
  /// The columns of row i that are read, without the diagonal: begin <= j < end.
  int64_t begin(int64_t i) const {
    return upper ? i + 1 : 0;
  }
  int64_t end(int64_t i) const {
    return upper ? n : i;
  }

  /// Whether the matrix is zero off the diagonal and finite on it.
  bool is_diagonal() const {
    for (int64_t i = 0; i < n; ++i) {
      bool nothing = std::isfinite(diagonal(i));
      for (auto k = begin(i) * parts; k < end(i) * parts; ++k) {
        nothing &= row(i)[k] == 0;
      }
      if (!nothing) {
        return false;
      }
    }
    return true;
  }

  /// The first non-finite entry, as row * n + column; -1 if all are finite.
  int64_t first_not_finite() const {
    for (int64_t i = 0; i < n; ++i) {
      if (std::isfinite(diagonal(i)) && all_finite(row(i) + begin(i) * parts, (end(i) - begin(i)) * parts)) {
        continue;
      }
      for (auto j = std::min(i, begin(i));; ++j) {
        const auto entry = data[i * n + j];
        if (!std::isfinite(real_part(entry)) || (i != j && !std::isfinite(imaginary_part(entry)))) {
          return i * n + j;
        }
      }
    }
    return -1;
  }

  /// Writes the largest absolute value of a real or imaginary part in each row of the finite matrix to `norms` (n).
  void row_norms(std::vector<real_t>& norms) const {
    std::fill(norms.begin(), norms.end(), real_t(0));
    for (int64_t i = 0; i < n; ++i) {
      auto largest = std::abs(diagonal(i));
      for (auto j = begin(i); j < end(i); ++j) {
        const auto size = std::max(std::abs(row(i)[j * parts]), std::abs(row(i)[(j + 1) * parts - 1]));
        auto& column_norm = norms[static_cast<size_t>(j)];
        column_norm = std::max(column_norm, size);
        largest = std::max(largest, size);
      }
      auto& row_norm = norms[static_cast<size_t>(i)];
      row_norm = std::max(row_norm, largest);
    }
  }

 private:
  /// Row i as real numbers.
  const real_t* row(int64_t i) const {
    return reinterpret_cast<const real_t*>(data + i * n);
  }
};

} // namespace spectralgrad::kernels
