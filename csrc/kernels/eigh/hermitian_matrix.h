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
      if (is_finite(i)) {
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
  /// Whether the entries of row i that are read are finite.
  bool is_finite(int64_t i) const {
    return std::isfinite(diagonal(i)) && all_finite(row(i) + begin(i) * parts, (end(i) - begin(i)) * parts);
  }

  /// Writes the largest absolute value of a real or imaginary part in each row of the finite matrix to `norms` (n).
  void row_norms(std::vector<real_t>& norms) const {
    std::fill(norms.begin(), norms.end(), real_t(0));
    for (int64_t i = 0; i < n; ++i) {
      add_to_norms(i, norms.data());
    }
  }
  /// Adds the entries of row i that are read to `norms`: those of row i and of their columns.
  void add_to_norms(int64_t i, real_t* norms) const {
    const auto* entries = row(i) + begin(i) * parts;
    auto* column_norms = norms + begin(i);
    const auto count = end(i) - begin(i);
    // Several maxima at a time, because a single one is a chain of dependent comparisons.
    constexpr int64_t at_once = 8;
    real_t largest[at_once] = {std::abs(diagonal(i))};
    const auto add = [&](int64_t j, int64_t k) {
      const auto size = std::max(std::abs(entries[j * parts]), std::abs(entries[(j + 1) * parts - 1]));
      column_norms[j] = std::max(column_norms[j], size);
      largest[k] = std::max(largest[k], size);
    };
    int64_t j = 0;
    for (; j + at_once <= count; j += at_once) {
      for (int64_t k = 0; k < at_once; ++k) {
        add(j + k, k);
      }
    }
    for (; j < count; ++j) {
      add(j, 0);
    }
    norms[i] = std::max(norms[i], *std::max_element(largest, largest + at_once));
  }

 private:
  /// Row i as real numbers.
  const real_t* row(int64_t i) const {
    return reinterpret_cast<const real_t*>(data + i * n);
  }
};

} // namespace spectralgrad::kernels
