#pragma once

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// A batch of n x n matrices, one after the other. If T is real, complex entries are pairs of real numbers. The strides
/// `down` a column and to the `right` in a row are in entries. `data` is null if there is no batch.
template <typename T>
struct Matrices {
  const T* data;
  int64_t down;
  int64_t right;
};

} // namespace spectralgrad::kernels::simd
