#include "kernels/simd/capability.h"

#include <ATen/Version.h>

namespace spectralgrad::kernels::simd {

Capability capability() {
  static const auto chosen = choose_capability(at::get_cpu_capability(), processor_capability());
  return chosen;
}

} // namespace spectralgrad::kernels::simd
