#pragma once

#include <algorithm>
#include <string_view>

namespace spectralgrad::kernels::simd {

/// The instruction sets that the kernels are compiled for, in ascending order.
enum class Capability { portable, avx2, avx512 };

/// The largest instruction set that the processor and the operating system support. Checks every extension that the
/// kernels are compiled with (`SPECTRALGRAD_FLAGS_OF_...` in CMakeLists.txt).
inline Capability processor_capability() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // False if the operating system does not save the registers, because the runtimes of GCC and Clang check XGETBV, too.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  return avx2 && avx512 ? Capability::avx512 : avx2 ? Capability::avx2 : Capability::portable;
#else
  return Capability::portable;
#endif
}

/// The instruction set `name`, in the spelling of `at::get_cpu_capability`, but at most `processor`.
/// LibTorch follows the environment variable ATEN_CPU_CAPABILITY without checking the processor.
inline Capability choose_capability(std::string_view name, Capability processor) {
  const auto named = name == "AVX512" ? Capability::avx512 : name == "AVX2" ? Capability::avx2 : Capability::portable;
  return std::min(named, processor);
}

} // namespace spectralgrad::kernels::simd
