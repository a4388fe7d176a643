#pragma once

#include "kernels/lanes/entry.h"

// Between matrices one after the other in memory and matrices one in each lane.
namespace spectralgrad::kernels::lanes {
inline namespace CPU_CAPABILITY {

/// Which matrices of a batch are in the lanes: `count` from `first` on. Lanes beyond repeat the last one, so that they ask for
/// no work of their own.
struct Members {
  int64_t first;
  int count;

  SPECTRALGRAD_INLINE int64_t of_lane(int lane) const {
    return first + (lane < count ? lane : count - 1);
  }
};

/// Writes entry (i, j) of each matrix, j <= i, to the lanes at `to(i, j)`: of the triangle that is read, the imaginary diagonal
/// taken to be zero.
template <typename T, bool is_complex, typename To>
SPECTRALGRAD_INLINE void load_triangle(const T* matrices, int n, bool upper, const Members& members, const To& to) {
  constexpr int W = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  const int64_t matrix = static_cast<int64_t>(n) * n * parts;
  const int64_t right = upper ? n * parts : parts;
  const int64_t down = upper ? parts : n * parts;
  const T sign = upper ? T(-1) : T(1);
  for (int i = 0; i < n; ++i) {
    for (int lane = 0; lane < W; ++lane) {
      const T* from = matrices + members.of_lane(lane) * matrix + i * down;
      for (int j = 0; j <= i; ++j) {
        T* entry = to(i, j) + lane;
        entry[0] = from[j * right];
        if constexpr (is_complex) {
          entry[W] = i == j ? T(0) : sign * from[j * right + 1];
        }
      }
    }
  }
}

/// What is to be known of a matrix before it is scaled.
template <typename T>
struct Extent {
  Vec<T> largest{T(0)};
  Vec<T> zeros{T(0)};

  SPECTRALGRAD_INLINE void add(const Vec<T>& x) {
    largest = larger(largest, x.abs());
    // NaN for NaN and Inf.
    zeros = fma(x, Vec<T>(T(0)), zeros);
  }
  SPECTRALGRAD_INLINE void add(const Complex<T>& z) {
    add(z.re);
    add(z.im);
  }
  SPECTRALGRAD_INLINE Mask<T> finite() const {
    return zeros == Vec<T>(T(0));
  }
};

} // namespace CPU_CAPABILITY
} // namespace spectralgrad::kernels::lanes
