#pragma once

#include "kernels/simd/capability.h"

#include <cstdint>
#include <limits>

// The interface of what is compiled once for each instruction set: plain data and pointers to functions.
namespace spectralgrad::kernels::simd {

/// A batch of Hermitian matrices, complex numbers as pairs of real ones.
template <typename T>
struct EighBatch {
  const T* matrices; // (count, n, n), row by row, of which one triangle is read
  int n;
  bool is_complex;
  bool upper; // which triangle
  T* eigenvalues; // (count, n), ascending
  T* eigenvectors; // (count, n, n), one after the other; null if they are not asked for
};

/// The lowest indices of matrices that something is to be said of.
struct EighFindings {
  static constexpr int64_t none = std::numeric_limits<int64_t>::max();
  int64_t not_finite = none; // NaN is what comes out
  int64_t not_converged = none;
};

/// The largest n there are kernels for.
inline constexpr int largest_n = 64;

template <typename T>
struct EighKernel {
  /// Matrices in one register.
  int lanes;
  /// Numbers of scratch memory that `decompose` needs, aligned to 64 bytes.
  int64_t (*workspace)(int n, bool is_complex, bool vectors);
  /// Matrices begin <= i < end.
  void (*decompose)(const EighBatch<T>&, int64_t begin, int64_t end, T* workspace, EighFindings&);

  SPECTRALGRAD_OF_EACH_CAPABILITY(EighKernel)
};

} // namespace spectralgrad::kernels::simd
