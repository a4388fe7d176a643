#include "kernels/eigh/simd_single_eigh.h"

#include "kernels/eigh/divide_and_conquer/back_transformation.h"
#include "kernels/eigh/divide_and_conquer/divide_and_conquer.h"
#include "kernels/eigh/flush_underflow.h"

#include <cstring>

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T>
int64_t workspace(int n) {
  const int64_t row = SymmetricMatrix<T>::row_length(n);
  return SymmetricMatrix<T>::workspace_size(n) + ReductionVectors<T>::workspace_size(n) +
      ReflectionBlock<T>::workspace_size(n) + DivideAndConquer<T>::workspace_size(n) + 2 * row + n * row;
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
  const ReductionVectors<T> vectors(n, matrix.row, memory);
  const ReflectionBlock<T> block(matrix.row, memory);
  T* d = memory.take(matrix.row);
  T* e = memory.take(matrix.row);
  T* Z = memory.take(static_cast<int64_t>(n) * matrix.row);
  const Tasks tasks(problem.run_tasks);
  DivideAndConquer<T> solver(n, memory, problem.integers, tasks);
  std::memset(matrix.diagonal, 0, sizeof(T) * static_cast<size_t>(matrix.row));
  std::memcpy(matrix.diagonal, problem.diagonal, sizeof(T) * static_cast<size_t>(n));
  reduce(matrix, vectors, d, e, tasks);
  const int* order = solver(n, d, e, Z);
  if (order == nullptr) {
    return false;
  }
  transform_back(matrix, block, Z, tasks);
  tasks(Division{0, n, task_count(n)}, [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      problem.eigenvalues[i] = d[order[i]];
      std::memcpy(
          problem.eigenvectors + static_cast<int64_t>(i) * n,
          Z + static_cast<int64_t>(order[i]) * n,
          sizeof(T) * static_cast<size_t>(n));
    }
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
