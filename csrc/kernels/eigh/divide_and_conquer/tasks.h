#pragma once

#include "kernels/eigh/flush_underflow.h"
#include "kernels/eigh/shared_matrix.h"

#include <cstdint>

// The work on a large matrix, divided into tasks. The size of the matrix alone determines the tasks, so results do not
// depend on the number of threads.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The number of tasks for work on `size` rows: a power of two, so that two or four threads have equally much to do. A
/// task takes at least a microsecond, which is more than waiting for the other threads takes.
constexpr int task_count(int size) {
  return size < least_shared_size ? 1 : size < 384 ? 2 : size < 768 ? 4 : 8;
}

/// `parts` parts of the range begin <= i < end, of nearly equal sizes. Part p begins at operator[](p).
struct Division {
  int begin;
  int end;
  int parts;

  int operator[](int part) const {
    return begin + static_cast<int>(static_cast<int64_t>(end - begin) * part / parts);
  }
};

/// The tasks of one thread.
inline void run_in_turn(int count, c10::function_ref<void(int)> task) {
  for (int i = 0; i < count; ++i) {
    task(i);
  }
}

/// Runs tasks by the function of the problem.
class Tasks {
 public:
  explicit Tasks(RunTasks run) : run_(run) {}

  /// Runs f(0), ..., f(count - 1). They may run at the same time.
  template <typename F>
  void operator()(int count, const F& f) const {
    if (count == 1) {
      f(0);
      return;
    }
    run_(count, [&](int task) {
      const FlushUnderflow flush;
      run_one(f, task);
    });
  }

  /// Runs f(begin, end) for each part.
  template <typename F>
  void operator()(const Division& division, const F& f) const {
    (*this)(division.parts, [&](int part) { f(division[part], division[part + 1]); });
  }

 private:
  /// Not inlined, so that all of it runs while underflow is flushed.
  template <typename F>
  __attribute__((noinline)) static void run_one(const F& f, int task) {
    f(task);
  }

  RunTasks run_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
