// What `#pragma omp parallel` calls, by std::thread. ThreadSanitizer does not see how libgomp's own threads hand over work and
// wait for each other, since libgomp is not compiled with it: everything would look like a race. A thread's start and join it
// sees, and these two are all the order that at::parallel_for promises; nothing else hides a race.
//
// Part of the library in a ThreadSanitizer build. The names are hidden there: LibTorch keeps libgomp.
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
