#pragma once

// Sets MKL's number of threads for this thread and returns the previous number. The symbol is weak, because a build of
// LibTorch may lack MKL.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] int MKL_Set_Num_Threads_Local(int);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

/// While it lives, MKL computes on this thread only. In a parallel region MKL does that anyway, but takes longer
/// (docs/measurements.md).
class SequentialBlas {
 public:
  SequentialBlas() : before_(MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(1) : 0) {}
  SequentialBlas(const SequentialBlas&) = delete;
  SequentialBlas& operator=(const SequentialBlas&) = delete;
  ~SequentialBlas() {
    if (MKL_Set_Num_Threads_Local != nullptr) {
      MKL_Set_Num_Threads_Local(before_);
    }
  }

 private:
  int before_;
};

} // namespace spectralgrad::kernels
