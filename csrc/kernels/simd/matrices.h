#pragma once

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// Matrices n x n one after the other, complex numbers as pairs of real ones; strides in entries. Null if there are none.
template <typename T>
struct Matrices {
  const T* data;
  int64_t down;
  int64_t right;
};

} // namespace spectralgrad::kernels::simd
