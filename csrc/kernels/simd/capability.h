#pragma once

#include "kernels/simd/choose_capability.h"

// The choice of the instruction set at run time.
//
// A kernel is a struct of function pointers. It has a static member function for each instruction set that its source
// is compiled for, which returns the kernel for that instruction set.
namespace spectralgrad::kernels::simd {

/// The instruction set in use: LibTorch's choice, unless the processor lacks it. The environment variable
/// ATEN_CPU_CAPABILITY can lower it.
Capability capability();

// NOLINTBEGIN(bugprone-macro-parentheses): types cannot be in parentheses.
/// Declares these member functions. For the definition of the kernel's struct.
#define SPECTRALGRAD_FOR_EACH_CAPABILITY(Kernel) \
  static const Kernel& of_DEFAULT();             \
  static const Kernel& of_AVX2();                \
  static const Kernel& of_AVX512();

/// Defines the member function of the instruction set that is being compiled. For the end of the kernel's source,
/// which must define the kernels as `kernel<T>`.
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
