#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// While it lives, results that underflow become zero. They are negligible, because the matrices are scaled to about 1,
/// and arithmetic with subnormal numbers is slow. Operands may still be subnormal.
class FlushUnderflow {
 public:
#if defined(__x86_64__)
  FlushUnderflow() : before_(_mm_getcsr()) {
    _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON);
  }
  ~FlushUnderflow() {
    _mm_setcsr(before_);
  }
#else
  FlushUnderflow() : before_(0) {}
  ~FlushUnderflow() {
    static_cast<void>(before_);
  }
#endif
  FlushUnderflow(const FlushUnderflow&) = delete;
  FlushUnderflow& operator=(const FlushUnderflow&) = delete;

 private:
  unsigned before_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
