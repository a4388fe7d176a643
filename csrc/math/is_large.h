#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Whether matrices (*, n, n) have more than 64 rows. SIMD kernels decompose smaller ones.
inline bool is_large(const at::Tensor& A) {
  return A.sym_size(-1).sym_gt(64).guard_bool(__FILE__, __LINE__);
}

} // namespace spectralgrad::math
