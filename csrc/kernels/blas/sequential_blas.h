#pragma once

// Weak, since another build of LibTorch may do without MKL. It returns the number that was set before.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] int MKL_Set_Num_Threads_Local(int);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

/// Within it, MKL uses no threads of its own in this thread. In a parallel region it does so anyway, but takes longer: a product of
/// 128 x 256 and 256 x 32 in float64 33 us, not 25 (measured).
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
