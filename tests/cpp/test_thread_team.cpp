#include "core/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace spectralgrad::kernels {
namespace {

void lead_with(int threads, c10::function_ref<void(ThreadTeam&)> lead) {
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  ThreadTeam::run(threads > 1, lead, [](const auto& serve) { serve(); });
  at::set_num_threads(before);
}

/// Runs groups of 1 to 20 tasks, each of which reads what the tasks of the group before have written.
void run_groups(ThreadTeam& team) {
  constexpr int groups = 2000;
  team.run_tasks(0, [](int) { FAIL(); });
  std::vector<int> written(20, 0);
  for (int group = 0; group < groups; ++group) {
    const int count = 1 + group % 20;
    std::vector<int> seen(20, -1);
    team.run_tasks(count, [&](int task) {
      seen[static_cast<size_t>(task)] = written[static_cast<size_t>((task + 1) % 20)];
    });
    for (int task = 0; task < 20; ++task) {
      ASSERT_EQ(seen[static_cast<size_t>(task)], task < count ? written[static_cast<size_t>((task + 1) % 20)] : -1);
    }
    team.run_tasks(20, [&](int task) { written[static_cast<size_t>(task)] += task; });
  }
  for (int task = 0; task < 20; ++task) {
    EXPECT_EQ(written[static_cast<size_t>(task)], groups * task);
  }
}

TEST(ThreadTeam, RunsEachTaskOnceAndWaitsForAll) {
  for (const int threads : {1, 2, 3, 8, 12}) {
    lead_with(threads, run_groups);
  }
}

TEST(ThreadTeam, WorksInAThreadThatIsAlreadyOneOfSeveral) {
  std::atomic<int> teams = 0;
  at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end; ++i) {
      ThreadTeam::run(true, [&](ThreadTeam& team) { run_groups(team); }, [](const auto& serve) { serve(); });
      ++teams;
    }
  });
  EXPECT_EQ(teams, 4);
}

TEST(ThreadTeam, DismissesItsHelpersIfTheLeaderThrows) {
  const auto lead = [](ThreadTeam& team) {
    team.run_tasks(4, [](int) {});
    throw std::runtime_error("stop");
  };
  EXPECT_THROW(lead_with(2, lead), std::runtime_error);
}

} // namespace
} // namespace spectralgrad::kernels
