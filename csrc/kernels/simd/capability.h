#pragma once

#include "kernels/simd/choose_capability.h"

// Which instruction set this machine gets. A kernel is a struct of pointers to functions, with a static member function for each
// instruction set that its source is compiled for.
namespace spectralgrad::kernels::simd {

/// LibTorch's choice, which the environment variable ATEN_CPU_CAPABILITY can lower.
Capability capability();

// NOLINTBEGIN(bugprone-macro-parentheses): types cannot be in parentheses.
/// Within a kernel's definition.
#define SPECTRALGRAD_OF_EACH_CAPABILITY(Kernel) \
  static const Kernel& of_DEFAULT();            \
  static const Kernel& of_AVX2();               \
  static const Kernel& of_AVX512();

/// Behind its source, which has them as `kernel<T>`: the ones that are being compiled.
#define SPECTRALGRAD_DEFINE_KERNEL(Kernel)                                  \
  template <>                                                               \
  const Kernel<float>& Kernel<float>::SPECTRALGRAD_OF(CPU_CAPABILITY)() {   \
    return kernel<float>;                                                   \
  }                                                                         \
  template <>                                                               \
  const Kernel<double>& Kernel<double>::SPECTRALGRAD_OF(CPU_CAPABILITY)() { \
    return kernel<double>;                                                  \
  }
#define SPECTRALGRAD_OF(capability) SPECTRALGRAD_OF_(capability)
#define SPECTRALGRAD_OF_(capability) of_##capability
// NOLINTEND(bugprone-macro-parentheses)

template <typename Kernel>
const Kernel& for_this_machine() {
#if defined(__x86_64__)
  switch (capability()) {
    case Capability::avx512:
      return Kernel::of_AVX512();
    case Capability::avx2:
      return Kernel::of_AVX2();
    case Capability::portable:
      break;
  }
#endif
  return Kernel::of_DEFAULT();
}

} // namespace spectralgrad::kernels::simd
