#pragma once

#include "kernels/simd/vector.h"

#include <cstdint>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Sorts `values`, n registers that are `stride` numbers apart, in ascending order in each lane. `order`, n registers
/// one after the other, becomes the previous place of each value. Equal values keep their order.
///
/// Batcher's merge exchange: D. Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M. What it compares
/// does not depend on the values, so all lanes take the same steps.
template <typename T>
__attribute__((noinline)) void sort_lanes(int n, T* values, int64_t stride, T* order) {
  constexpr int W = lane_count<T>;
  for (int i = 0; i < n; ++i) {
    store(order + static_cast<int64_t>(i) * W, Vec<T>(static_cast<T>(i)));
  }
  const auto put_in_order = [&](int64_t i, int64_t j) {
    const auto a = load(values + i * stride);
    const auto b = load(values + j * stride);
    const auto place_of_a = load(order + i * W);
    const auto place_of_b = load(order + j * W);
    const Mask<T> exchange = (b < a) | ((b == a) & (place_of_b < place_of_a));
    store(values + i * stride, select<T>(exchange, b, a));
    store(values + j * stride, select<T>(exchange, a, b));
    store(order + i * W, select<T>(exchange, place_of_b, place_of_a));
    store(order + j * W, select<T>(exchange, place_of_a, place_of_b));
  };
  int top = 1;
  while (2 * top < n) {
    top *= 2;
  }
  for (int p = top; p > 0; p /= 2) {
    int r = 0;
    int d = p;
    for (int q = top; q >= p; q /= 2) {
      for (int i = 0; i + d < n; ++i) {
        if ((i & p) == r) {
          put_in_order(i, i + d);
        }
      }
      d = q - p;
      r = p;
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
