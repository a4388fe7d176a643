#pragma once

#include "kernels/eigh/shared_matrix.h"
#include "kernels/simd/capability.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// A real symmetric matrix (n, n) that is decomposed by Householder reflections and divide and conquer, and the memory
/// for that.
template <typename T>
struct SingleEighProblem {
  int n;
  /// The workspace, aligned to 64 bytes. It begins with the matrix: in row i, from entry `row * i` on, the entries left
  /// of the diagonal, and zeros up to the next row. The largest entry, on the diagonal or off it, must be about 1.
  T* workspace;
  T* diagonal; // n
  int* integers;
  T* eigenvalues; // n, ascending
  T* eigenvectors; // n x n, one in each row; aligned to 64 bytes, because round-off depends on it
  RunTasks run_tasks;
};

/// The kernel that is compiled once for each instruction set.
template <typename T>
struct SingleEighKernel {
  /// The sizes of the workspace, in numbers of each type.
  int64_t (*workspace)(int n);
  int64_t (*integers)(int n);
  /// The distance between two rows of the matrix.
  int (*row)(int n);
  /// Decomposes the matrix. Returns whether the algorithm converged.
  bool (*decompose)(const SingleEighProblem<T>&);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(SingleEighKernel)
};

} // namespace spectralgrad::kernels::simd
