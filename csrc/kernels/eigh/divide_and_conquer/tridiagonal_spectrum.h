#pragma once

#include "kernels/simd/memory.h"

#include <cstdint>

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// A symmetric tridiagonal matrix whose parts are replaced by their eigenvalues and eigenvectors.
template <typename T>
struct TridiagonalSpectrum {
  int n;
  T* d; // n: the diagonal, then eigenvalues
  const T* e; // n - 1: the off-diagonal
  T* Z; // n x n: row i is the eigenvector of d[i], zero outside the part that it belongs to
  int* order; // n: the indices of the eigenvalues of each part, ascending

  SPECTRALGRAD_INLINE T* eigenvector(int i) const {
    return Z + static_cast<int64_t>(i) * n;
  }
};

template <typename T>
SPECTRALGRAD_INLINE T larger_of(T a, T b) {
  return a < b ? b : a;
}

/// Merges two ascending lists of indices of `values`.
template <typename T>
void merge_orders(const T* values, const int* a, const int* a_end, const int* b, const int* b_end, int* to) {
  while (a != a_end && b != b_end) {
    *to++ = values[*b] < values[*a] ? *b++ : *a++;
  }
  while (a != a_end) {
    *to++ = *a++;
  }
  while (b != b_end) {
    *to++ = *b++;
  }
}

/// Sorts `count` indices of `values`, of which there are few.
template <typename T>
void sort_order(const T* values, int* order, int count) {
  for (int k = 1; k < count; ++k) {
    const int index = order[k];
    int at = k;
    for (; at > 0 && values[index] < values[order[at - 1]]; --at) {
      order[at] = order[at - 1];
    }
    order[at] = index;
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
