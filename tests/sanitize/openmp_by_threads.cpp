// The functions that `#pragma omp parallel` calls, implemented with std::thread. libgomp is not compiled with
// ThreadSanitizer, which therefore does not see how libgomp's threads hand over work and wait for each other, and would
// report everything as a race. It sees the start and the join of a std::thread. at::parallel_for promises no other
// order, so this hides no race.
//
// This file is part of the library in a ThreadSanitizer build. The names are hidden, so LibTorch still uses libgomp.
#include <ATen/Parallel.h>

#include <thread>
#include <vector>

namespace {

struct Place {
  int thread = 0;
  int threads = 1;
};
thread_local Place place;

} // namespace

extern "C" {

// The compiler's two other arguments, num_threads and proc_bind clauses, at::parallel_for does not use.
void GOMP_parallel(void (*task)(void*), void* data, unsigned, unsigned) {
  const int threads = at::get_num_threads();
  const auto run = [&](int thread) {
    place = {thread, threads};
    task(data);
  };
  std::vector<std::thread> others;
  others.reserve(threads - 1);
  for (int thread = 1; thread < threads; ++thread) {
    others.emplace_back(run, thread);
  }
  const auto outer = place;
  run(0);
  place = outer;
  for (auto& other : others) {
    other.join();
  }
}

int omp_get_thread_num() {
  return place.thread;
}

int omp_get_num_threads() {
  return place.threads;
}
}
