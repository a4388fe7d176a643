#include "kernels/eigh/simd_single_eigh.h"

#include "kernels/eigh/divide_and_conquer/back_transformation.h"
#include "kernels/eigh/divide_and_conquer/divide_and_conquer.h"
#include "kernels/eigh/flush_underflow.h"

#include <algorithm>
#include <cstring>

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// What comes after the matrix in the workspace: first the reduction uses it, then the solver, then the reflections.
template <typename T>
int64_t shared_workspace(int n) {
  return std::max(
      {ReductionVectors<T>::workspace_size(n),
       DivideAndConquer<T>::workspace_size(n),
       ReflectionBlocks<T>::workspace_size(n)});
}

template <typename T>
int64_t workspace(int n) {
  const int64_t row = SymmetricMatrix<T>::row_length(n);
  return SymmetricMatrix<T>::workspace_size(n) + 2 * row + shared_workspace<T>(n);
}

template <typename T>
int64_t integers(int n) {
  return static_cast<int64_t>(DivideAndConquer<T>::integers_per_row) * n;
}

/// Not inlined, so that all of it runs while underflow is flushed.
template <typename T>
__attribute__((noinline)) bool solve(const SingleEighProblem<T>& problem) {
  const int n = problem.n;
  Memory<T> memory(problem.workspace);
  const SymmetricMatrix<T> matrix(n, memory);
  T* d = memory.take(matrix.row);
  T* e = memory.take(matrix.row);
  const Tasks tasks(problem.run_tasks);
  std::memset(matrix.diagonal, 0, sizeof(T) * static_cast<size_t>(matrix.row));
  std::memcpy(matrix.diagonal, problem.diagonal, sizeof(T) * static_cast<size_t>(n));
  reduce(matrix, ReductionVectors<T>(n, matrix.row, memory), d, e, tasks);
  const auto size_of_row = sizeof(T) * static_cast<size_t>(n);
  T* Z = problem.eigenvectors;
  const int* order = DivideAndConquer<T>(n, memory, problem.integers, tasks)(n, d, e, Z);
  if (order == nullptr) {
    return false;
  }
  const ReflectionBlocks<T> reflections(matrix, memory);
  reflections.find_factors(tasks);
  const Division rows{0, n, task_count(n)};
  tasks(rows, [&](int begin, int end) { reflections.apply(Z, begin, end); });
  bool in_order = true;
  for (int i = 0; i < n; ++i) {
    problem.eigenvalues[i] = d[order[i]];
    in_order = in_order && order[i] == i;
  }
  if (in_order) {
    return true;
  }
  // The reflections are not needed any more.
  T* sorted = matrix.A;
  tasks(rows, [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      std::memcpy(sorted + static_cast<int64_t>(i) * n, Z + static_cast<int64_t>(order[i]) * n, size_of_row);
    }
  });
  tasks(rows, [&](int begin, int end) {
    const auto first = static_cast<int64_t>(begin) * n;
    std::memcpy(Z + first, sorted + first, size_of_row * static_cast<size_t>(end - begin));
  });
  return true;
}

template <typename T>
bool decompose(const SingleEighProblem<T>& problem) {
  const FlushUnderflow flush;
  return solve(problem);
}

template <typename T>
constexpr SingleEighKernel<T> kernel{workspace<T>, integers<T>, SymmetricMatrix<T>::row_length, decompose<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(SingleEighKernel)

} // namespace spectralgrad::kernels::simd
