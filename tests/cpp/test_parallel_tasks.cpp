#include "kernels/eigh_vjp/by_products/parallel_products.h"

#include <gtest/gtest.h>

namespace spectralgrad::kernels {
namespace {

int64_t tasks(int64_t count, int64_t n, int64_t threads) {
  const auto rows = rows_per_task(count, n, threads);
  return count * ((n + rows - 1) / rows);
}

TEST(ParallelTasks, NearlyEveryThreadGetsOne) {
  for (const int64_t threads : {1, 2, 16, 64}) {
    for (const int64_t n : {65, 128, 200, 256, 512, 1024, 2048}) {
      for (const int64_t count : {1, 2, 7, 100}) {
        // A task has at least 16 rows.
        const auto most = count * ((n + 15) / 16);
        // Blocks are whole multiples of 16 rows, which leaves a few threads idle.
        EXPECT_GE(4 * tasks(count, n, threads), 3 * std::min(threads, most)) << count << " x " << n << ", " << threads;
      }
    }
  }
  EXPECT_EQ(tasks(1, 1024, 64), 64);
  EXPECT_EQ(tasks(64, 65, 64), 64);
}

TEST(ParallelTasks, FewThreadsGetLargeBlocks) {
  EXPECT_EQ(rows_per_task(1, 256, 2), 128);
  EXPECT_EQ(rows_per_task(8, 256, 2), 128);
  EXPECT_EQ(rows_per_task(1, 2048, 2), 256);
  EXPECT_EQ(rows_per_task(1, 200, 2), 112);
}

} // namespace
} // namespace spectralgrad::kernels
