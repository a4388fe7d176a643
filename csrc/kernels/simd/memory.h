#pragma once

#include "kernels/simd/products.h"

#include <cstdint>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Hands out the workspace of one thread, piece by piece.
template <typename T>
class Memory {
 public:
  explicit Memory(T* begin) : next_(begin) {}

  T* take(int64_t count) {
    T* taken = next_;
    next_ += count;
    return taken;
  }
  /// A row of n vectors.
  T* row(int n) {
    return take(static_cast<int64_t>(n) * lane_count<T>);
  }
  /// An n x n matrix whose entries consist of `numbers` numbers. Rows are an odd number of entries apart, because
  /// rows a power of two apart would share a few cache sets.
  View<T> matrix(int n, int numbers) {
    const int64_t row = static_cast<int64_t>(n | 1) * numbers;
    return {take(n * row), row, numbers};
  }

 private:
  T* next_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
