#pragma once

#include "kernels/simd/entry.h"

// Conversion between matrices that are stored one after the other and matrices in lanes.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The matrices of a batch that are in the lanes: `count` matrices from `first` on. The remaining lanes repeat the last
/// one, so that they need no extra iterations.
struct Members {
  int64_t first;
  int count;

  SPECTRALGRAD_INLINE int64_t matrix_in_lane(int lane) const {
    return first + (lane < count ? lane : count - 1);
  }
};

/// Reorders `count` registers, from one number of all matrices in each register to all numbers of one matrix after the
/// other. `count` must be a power of two.
template <typename T, int count>
SPECTRALGRAD_INLINE void interleave(Vec<T> (&x)[count]) {
  // Each round rotates the binary digits of the position (number, matrix) by one place.
#pragma GCC unroll 4
  for (int step = 1; step < count; step *= 2) {
    Vec<T> y[count];
#pragma GCC unroll 16
    for (int i = 0; i < count / 2; ++i) {
      const auto pair = at::vec::interleave2(x[i], x[i + count / 2]);
      y[2 * i] = pair.first;
      y[2 * i + 1] = pair.second;
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) {
      x[i] = y[i];
    }
  }
}

/// The inverse of `interleave`.
template <typename T, int count>
SPECTRALGRAD_INLINE void deinterleave(Vec<T> (&x)[count]) {
#pragma GCC unroll 4
  for (int step = 1; step < count; step *= 2) {
    Vec<T> y[count];
#pragma GCC unroll 16
    for (int i = 0; i < count / 2; ++i) {
      const auto pair = at::vec::deinterleave2(x[2 * i], x[2 * i + 1]);
      y[i] = pair.first;
      y[i + count / 2] = pair.second;
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) {
      x[i] = y[i];
    }
  }
}

/// Whether `interleave` can reorder `known_count` numbers of each lane as whole registers.
template <typename T, int known_count>
constexpr bool fill_registers() {
  return known_count > 1 && known_count <= lane_count<T> && (known_count & (known_count - 1)) == 0;
}

/// Loads `count` numbers of each matrix into lanes; the matrices are `matrix` numbers apart. Each call of `to()`
/// returns the address for the next number of all matrices. `known_count` is `count` if that is known at compile
/// time, else 0.
template <typename T, int known_count, typename To>
SPECTRALGRAD_INLINE void load_numbers(
    const T* matrices,
    int64_t matrix,
    int count,
    const Members& members,
    const To& to) {
  constexpr int W = lane_count<T>;
  if constexpr (fill_registers<T, known_count>()) {
    if (matrix == known_count && members.count == W) {
      Vec<T> x[known_count];
#pragma GCC unroll 16
      for (int i = 0; i < known_count; ++i) {
        x[i] = load(matrices + members.first * matrix + i * W);
      }
      deinterleave<T>(x);
      for (int i = 0; i < known_count; ++i) {
        store(to(), x[i]);
      }
      return;
    }
  }
  for (int f = 0; f < count; f += W) {
    Vec<T> x[W];
    const int wanted = count - f < W ? count - f : W;
#pragma GCC unroll 16
    for (int lane = 0; lane < W; ++lane) {
      const T* from = matrices + members.matrix_in_lane(lane) * matrix + f;
      x[lane] = wanted == W ? load(from) : Vec<T>::loadu(from, wanted);
    }
    interleave<T>(x); // of a square: its transpose
    for (int i = 0; i < wanted; ++i) {
      store(to(), x[i]);
    }
  }
}

/// Stores `count` numbers of each matrix from lanes. Each call of `from()` returns the address of the next number of
/// all matrices. Otherwise like `load_numbers`.
template <typename T, int known_count, typename From>
SPECTRALGRAD_INLINE void store_numbers(
    T* matrices,
    int64_t matrix,
    int count,
    const Members& members,
    const From& from) {
  constexpr int W = lane_count<T>;
  if constexpr (fill_registers<T, known_count>()) {
    if (matrix == known_count && members.count == W) {
      Vec<T> x[known_count];
      for (int i = 0; i < known_count; ++i) {
        x[i] = load<T>(from());
      }
      interleave<T>(x);
#pragma GCC unroll 16
      for (int i = 0; i < known_count; ++i) {
        store(matrices + members.first * matrix + i * W, x[i]);
      }
      return;
    }
  }
  for (int f = 0; f < count; f += W) {
    Vec<T> x[W];
    const int wanted = count - f < W ? count - f : W;
    for (int i = 0; i < W; ++i) {
      x[i] = i < wanted ? load<T>(from()) : Vec<T>(T(0));
    }
    interleave<T>(x); // of a square: its transpose
    for (int lane = 0; lane < members.count; ++lane) {
      T* to = matrices + (members.first + lane) * matrix + f;
      if (wanted == W) {
        store(to, x[lane]);
      } else {
        x[lane].store(to, wanted);
      }
    }
  }
}

/// Writes to `flags[i]`, for each matrix i, whether its lane is set.
template <typename T>
SPECTRALGRAD_INLINE void store_mask(const Mask<T>& mask, const Members& members, bool* flags) {
  const int unset = mask.zero_mask();
  for (int lane = 0; lane < members.count; ++lane) {
    flags[members.first + lane] = (unset >> lane & 1) == 0;
  }
}

/// Writes entry (i, j) of each Hermitian matrix, j <= i, to the lanes at `to(i, j)`. Reads only the triangle that
/// `upper` selects. The imaginary part of the diagonal counts as zero.
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
      const T* from = matrices + members.matrix_in_lane(lane) * matrix + i * down;
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

/// The largest absolute value in a matrix, and whether all its numbers are finite.
template <typename T>
struct Extent {
  Vec<T> largest{T(0)};
  Vec<T> zeros{T(0)};

  SPECTRALGRAD_INLINE void add(const Vec<T>& x) {
    largest = larger(largest, x.abs());
    // 0 x is NaN if x is NaN or Inf.
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

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
