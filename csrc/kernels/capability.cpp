#include "kernels/lanes/capability.h"

#include <ATen/Version.h>

#include <string>

namespace spectralgrad::kernels::lanes {

Capability capability() {
  static const auto chosen = [] {
    const auto name = at::get_cpu_capability();
    return name == "AVX512" ? Capability::avx512 : name == "AVX2" ? Capability::avx2 : Capability::portable;
  }();
  return chosen;
}

} // namespace spectralgrad::kernels::lanes
