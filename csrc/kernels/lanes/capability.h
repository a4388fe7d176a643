#pragma once

// Which instruction set this machine gets. A kernel is a struct of pointers to functions, with a static member function for each
// instruction set that its source is compiled for.
namespace spectralgrad::kernels::lanes {

enum class Capability { portable, avx2, avx512 };

/// LibTorch's choice, which the environment variable ATEN_CPU_CAPABILITY can lower.
Capability capability();

/// Within a kernel's definition.
#define SPECTRALGRAD_OF_EACH_CAPABILITY(Kernel) \
  static const Kernel& of_DEFAULT();            \
  static const Kernel& of_AVX2();               \
  static const Kernel& of_AVX512();

/// The one that is being compiled.
#define SPECTRALGRAD_OF_THIS_CAPABILITY SPECTRALGRAD_OF_(CPU_CAPABILITY)
#define SPECTRALGRAD_OF_(capability) SPECTRALGRAD_OF__(capability)
#define SPECTRALGRAD_OF__(capability) of_##capability

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

} // namespace spectralgrad::kernels::lanes
