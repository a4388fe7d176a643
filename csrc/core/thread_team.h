#pragma once

#include <ATen/Parallel.h>
#include <c10/util/FunctionRef.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace spectralgrad::kernels {

/// A thread that leads, and others of LibTorch's threads, which help it with short groups of tasks. Between two groups
/// the helpers spin, so that a group is shared more quickly than by `at::parallel_for` (docs/measurements.md).
///
/// The leader does not wait for helpers to come: those that are not there yet get no tasks. So a team also works in a
/// thread that is already one of several, where it has no helpers.
class ThreadTeam {
 public:
  using Task = c10::function_ref<void(int)>;
  static constexpr int most_members = 8;

  /// Calls lead(team) in this thread, with helpers if `has_helpers`. Each helper calls help(serve), which must call
  /// serve() once.
  template <typename Lead, typename Help>
  static void run(bool has_helpers, const Lead& lead, const Help& help) {
    ThreadTeam team;
    if (!has_helpers || at::in_parallel_region()) {
      lead(team);
      return;
    }
    const int members = std::min(at::get_num_threads(), most_members);
    at::parallel_for(0, members, 1, [&](int64_t member, int64_t) {
      if (member == 0) {
        const Dismissal dismissal{team};
        lead(team);
      } else {
        help([&] { team.serve(); });
      }
    });
  }

  /// Runs task(0), ..., task(count - 1), in any order, some of them at the same time. Only the leader calls it. Tasks
  /// must not throw.
  void run_tasks(int count, Task task) {
    const int helpers = std::min(arrived_.load(std::memory_order_acquire), count - 1);
    if (helpers <= 0) {
      run_part({count, 1, task}, 0);
      return;
    }
    group_ = {count, helpers + 1, task};
    const auto word = (word_.load(std::memory_order_relaxed) / words_per_group + 1) * words_per_group +
        static_cast<uint64_t>(helpers);
    word_.store(word, std::memory_order_release);
    run_part(group_, 0);
    for (int i = 0; i < helpers; ++i) {
      const auto& finished = finished_[static_cast<size_t>(i)].word;
      for (Pause pause; finished.load(std::memory_order_acquire) != word;) {
        pause();
      }
    }
  }

 private:
  struct Group {
    int count; // of tasks
    int members; // the leader and the first helpers
    Task task;
  };

  struct Dismissal {
    ThreadTeam& team;
    ~Dismissal() {
      team.word_.store(dismissed, std::memory_order_release);
    }
  };

  /// Waits for a moment. After about a tenth of a millisecond, other threads may use the core.
  class Pause {
   public:
    void operator()() {
      if (++turns_ > 2000) {
        std::this_thread::yield();
        return;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }

   private:
    int turns_ = 0;
  };

  /// Runs the tasks of one member, always the same ones of a group, so that their data stay in its cache.
  static void run_part(const Group& group, int member) {
    for (int i = group.count * member / group.members; i < group.count * (member + 1) / group.members; ++i) {
      group.task(i);
    }
  }

  void serve() {
    const auto helper = static_cast<uint64_t>(arrived_.fetch_add(1, std::memory_order_acq_rel));
    uint64_t last = 0;
    for (Pause pause;;) {
      const auto word = word_.load(std::memory_order_acquire);
      if (word == dismissed) {
        return;
      }
      // A helper that is not wanted must not read `group_`, because the leader does not wait for it.
      if (word == last || helper >= word % words_per_group) {
        pause();
        continue;
      }
      run_part(group_, static_cast<int>(helper) + 1);
      finished_[helper].word.store(word, std::memory_order_release);
      last = word;
      pause = Pause();
    }
  }

  // The number of the group, times this, plus the number of helpers that it wants.
  static constexpr uint64_t words_per_group = 16;
  static constexpr uint64_t dismissed = ~uint64_t(0);

  struct alignas(64) Finished {
    std::atomic<uint64_t> word{0};
  };

  // On one cache line, because moving a line to a helper's cache takes as long as a short task.
  alignas(64) std::atomic<uint64_t> word_{0};
  Group group_{0, 1, nullptr};
  alignas(64) std::atomic<int> arrived_{0};
  std::array<Finished, most_members> finished_;
};

} // namespace spectralgrad::kernels
