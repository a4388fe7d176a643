#include "kernels/choose_capability.h"

#include <ATen/Version.h>

namespace spectralgrad::kernels::lanes {

Capability capability() {
  static const auto chosen = choose_capability(at::get_cpu_capability(), processor_capability());
  return chosen;
}

} // namespace spectralgrad::kernels::lanes
