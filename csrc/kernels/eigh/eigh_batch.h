#pragma once

#include <cstdint>
#include <limits>

namespace spectralgrad::kernels::simd {

/// A batch of Hermitian matrices, with complex numbers as pairs of real ones.
template <typename T>
struct EighBatch {
  const T* matrices; // (count, n, n), contiguous; only one triangle is read
  int n;
  bool is_complex;
  bool upper; // selects the triangle
  T* eigenvalues; // (count, n), ascending
  T* eigenvectors; // (count, n, n), one in each row; null if not requested
};

/// The lowest indices of matrices that the caller must report; `none` if there is no such matrix.
struct EighFindings {
  static constexpr int64_t none = std::numeric_limits<int64_t>::max();
  int64_t not_finite = none; // contains a NaN or an Inf; its results are NaN
  int64_t not_converged = none;
};

/// The largest n that the kernels support.
inline constexpr int largest_n = 64;

/// A matrix is graded if the largest entries of its rows differ by more than this factor. Below it, the smallest
/// eigenvalue loses a factor of 2 of its accuracy at most (docs/measurements.md).
inline constexpr int graded_rows = 16;

} // namespace spectralgrad::kernels::simd
