#pragma once

#include "kernels/simd/choose_capability.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// The choice of a method depends on these: a batch of n x n matrices, the machine and the settings.
struct BatchTraits {
  int64_t n = 0;
  int64_t count = 0; // of matrices
  bool is_complex = false;
  bool is_double = false;
  bool is_on_cpu = true;
  simd::Capability capability = simd::Capability::portable;
  int64_t lanes = 1; // matrices in a SIMD register
  int64_t threads = 1;
  bool deterministic = false; // torch.use_deterministic_algorithms
  bool has_lapack = false;

  /// The number of SIMD registers that the batch takes.
  int64_t registers() const {
    return (count + lanes - 1) / lanes;
  }
};

/// The traits of a batch `A` (*, n, n) here and now.
BatchTraits batch_traits(const at::Tensor& A);

} // namespace spectralgrad::kernels
