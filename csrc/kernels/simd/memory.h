#pragma once

#include "kernels/simd/products.h"

#include <cstdint>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The memory of one thread, taken piece by piece.
template <typename T>
class Memory {
 public:
  explicit Memory(T* begin) : next_(begin) {}

  T* take(int64_t count) {
    T* taken = next_;
    next_ += count;
    return taken;
  }
  /// A number of each lane, n times.
  T* row(int n) {
    return take(static_cast<int64_t>(n) * lane_count<T>);
  }
  /// n x n, each entry so many numbers. Rows are an odd number of entries apart: those a power of two apart fall on the same few
  /// places of a cache.
  View<T> matrix(int n, int numbers) {
    const int64_t row = static_cast<int64_t>(n | 1) * numbers;
    return {take(n * row), row, numbers};
  }

 private:
  T* next_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
