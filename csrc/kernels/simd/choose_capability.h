#pragma once

#include <algorithm>
#include <string_view>

namespace spectralgrad::kernels::simd {

/// Instruction sets that the kernels are compiled for, the smallest first.
enum class Capability { portable, avx2, avx512 };

/// The largest instruction set that the processor has and the operating system saves registers for. It names every subset that
/// the kernels are compiled for (`SPECTRALGRAD_FLAGS_OF_...` in CMakeLists.txt).
inline Capability processor_capability() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // Both compilers' runtimes ask XGETBV, too: these are false where the operating system does not save the registers.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  return avx2 && avx512 ? Capability::avx512 : avx2 ? Capability::avx2 : Capability::portable;
#else
  return Capability::portable;
#endif
}

/// The instruction set that LibTorch names, as `at::get_cpu_capability` spells it, but none that the processor lacks: LibTorch
/// believes the environment variable ATEN_CPU_CAPABILITY without asking the processor.
inline Capability choose_capability(std::string_view name, Capability processor) {
  const auto named = name == "AVX512" ? Capability::avx512 : name == "AVX2" ? Capability::avx2 : Capability::portable;
  return std::min(named, processor);
}

} // namespace spectralgrad::kernels::simd
