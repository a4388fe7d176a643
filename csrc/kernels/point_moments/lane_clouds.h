#pragma once

#include "kernels/point_moments/point_clouds.h"
#include "kernels/simd/exchange.h"
#include "kernels/simd/memory.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// One pair of clouds in each lane. Number k of all lanes is at `x + k * W`. `known_d` is the dimension if that is
/// known at compile time, else 0.
template <typename T, bool weighted, int known_d>
class LaneClouds {
 public:
  static constexpr int W = lane_count<T>;

  static int64_t workspace_size(int points, int dimension) {
    return static_cast<int64_t>(W) * points * (2 * dimension + 1);
  }

  LaneClouds(const PointClouds<T>& clouds, Memory<T>& memory)
      : n(clouds.points),
        x(memory.row(n * clouds.dimension)),
        y(memory.row(n * clouds.dimension)),
        w(memory.row(n)),
        clouds_(clouds) {}

  SPECTRALGRAD_INLINE int dimension() const {
    return known_d != 0 ? known_d : clouds_.dimension;
  }

  void load(const Members& members) {
    // The hardware does not foresee the order in which lanes are loaded (docs/measurements.md).
    prefetch(clouds_.source, n * dimension(), members.first + W);
    prefetch(clouds_.target, n * dimension(), members.first + W);
    load_row(clouds_.source, n * dimension(), members, x);
    load_row(clouds_.target, n * dimension(), members, y);
    if constexpr (weighted) {
      load_row(clouds_.weights, n, members, w);
    }
  }

  SPECTRALGRAD_INLINE Vec<T> weight(int point) const {
    return weighted ? simd::load(w + point * W) : Vec<T>(T(1));
  }

  /// Multiplies the weights by `factor`, a power of two, and returns their sum, with 1 instead of 0.
  SPECTRALGRAD_INLINE Vec<T> scale_weights(const Vec<T>& factor) const {
    if constexpr (!weighted) {
      return Vec<T>(static_cast<T>(n));
    }
    const Vec<T> zero(T(0));
    auto total = zero;
    for (int i = 0; i < n; ++i) {
      const auto scaled = simd::load(w + i * W) * factor;
      store(w + i * W, scaled);
      total = total + scaled;
    }
    return select<T>(total == zero, Vec<T>(T(1)), total);
  }

  /// Fetches the `count` numbers of each pair in the register that starts at pair `first` into the cache.
  template <bool to_write = false>
  SPECTRALGRAD_INLINE static void prefetch(const T* batch, int64_t count, int64_t first) {
    constexpr int64_t cache_line = 64 / sizeof(T);
    const T* const begin = batch + first * count;
    for (int64_t k = 0; k < W * count; k += cache_line) {
      __builtin_prefetch(begin + k, to_write);
    }
  }

  /// Loads `count` numbers of each pair. Numbers of a null batch are zero.
  static void load_row(const T* from, int count, const Members& members, T* to) {
    if (from == nullptr) {
      for (int k = 0; k < count; ++k) {
        store(to + k * W, Vec<T>(T(0)));
      }
      return;
    }
    load_numbers<T, 0>(from, count, count, members, Cursor<T, false>({to, 0, W}, count));
  }
  static void store_row(T* to, int count, const Members& members, T* from) {
    store_numbers<T, 0>(to, count, count, members, Cursor<T, false>({from, 0, W}, count));
  }

  int n;
  T* x;
  T* y;
  T* w;

 private:
  const PointClouds<T>& clouds_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
