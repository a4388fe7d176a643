#pragma once

#include "core/tolerances.h"
#include "kernels/eigh/divide_and_conquer/tridiagonal_spectrum.h"

#include <cmath>
#include <cstdint>
#include <numbers>

// Deflation: the eigenvalues that the halves of a tridiagonal matrix share with the whole, up to round-off.
//
// J. D. Rutter, A serial implementation of Cuppen's divide and conquer algorithm for the symmetric eigenvalue problem,
// LAPACK Working Note 69 (1994), section 4.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The rows where the two halves of a block begin and end.
struct Halves {
  int begin;
  int middle;
  int end;

  SPECTRALGRAD_INLINE int first_size() const {
    return middle - begin;
  }
  SPECTRALGRAD_INLINE int second_size() const {
    return end - middle;
  }
  SPECTRALGRAD_INLINE int size() const {
    return end - begin;
  }
};

/// The part of a block in which an eigenvector is not zero.
enum Support { first_half, both_halves, second_half };

/// In the basis of the eigenvectors of its halves, a block is diag(d) + rho z z^T with |z| = 1. An eigenvalue is
/// dropped from this problem if its entry of z is negligible, or becomes so by a rotation of its eigenvector and that
/// of a close eigenvalue. Arrays are by index of the eigenvalue, lists of indices by position.
template <typename T>
struct Deflation {
  static constexpr int integers_per_row = 3;

  /// `z_memory` and `support_memory` have room for the eigenvalues of the whole matrix, `integers` for those of the
  /// block, times `integers_per_row`.
  Deflation(int64_t size, T* z_memory, int* support_memory, int* integers)
      : z(z_memory), support(support_memory), kept(integers), dropped(integers + size), merged(integers + 2 * size) {}

  T rho = 0;
  T* z;
  int* support;
  int kept_count = 0;
  int dropped_count = 0;
  int* kept; // by ascending eigenvalue
  int* dropped; // nearly so
  int* merged; // scratch

  void operator()(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    find_z(spectrum, halves);
    const auto [begin, middle, end] = halves;
    const T* d = spectrum.d;
    T largest = 0;
    for (int i = begin; i < end; ++i) {
      largest = larger_of(larger_of(largest, std::abs(d[i])), std::abs(z[i]));
    }
    const T negligible = tolerances::deflation<T> * largest;
    const int* order = spectrum.order;
    merge_orders(d, order + begin, order + middle, order + middle, order + end, merged);
    kept_count = 0;
    dropped_count = 0;
    int before = -1; // the last one that may be kept
    for (int k = 0; k < end - begin; ++k) {
      const int i = merged[k];
      if (rho * std::abs(z[i]) <= negligible) {
        dropped[dropped_count++] = i;
        continue;
      }
      if (before >= 0) {
        const T size = std::sqrt(z[i] * z[i] + z[before] * z[before]);
        const T cosine = z[i] / size;
        const T sine = -z[before] / size;
        if (std::abs((d[i] - d[before]) * cosine * sine) <= negligible) {
          z[i] = size;
          rotate(spectrum, halves, before, i, cosine, sine);
          dropped[dropped_count++] = before;
        } else {
          kept[kept_count++] = before;
        }
      }
      before = i;
    }
    if (before >= 0) {
      kept[kept_count++] = before;
    }
  }

 private:
  void find_z(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const T beta = spectrum.e[halves.middle - 1];
    rho = 2 * std::abs(beta);
    const T first = static_cast<T>(std::numbers::sqrt2 / 2);
    const T second = beta < 0 ? -first : first;
    for (int i = halves.begin; i < halves.middle; ++i) {
      z[i] = first * spectrum.eigenvector(i)[halves.middle - 1];
      support[i] = first_half;
    }
    for (int i = halves.middle; i < halves.end; ++i) {
      z[i] = second * spectrum.eigenvector(i)[halves.middle];
      support[i] = second_half;
    }
  }

  void rotate(const TridiagonalSpectrum<T>& spectrum, const Halves& halves, int a, int b, T cosine, T sine) {
    support[b] = support[a] == support[b] ? support[b] : static_cast<int>(both_halves);
    T* x = spectrum.eigenvector(a);
    T* y = spectrum.eigenvector(b);
    for (int j = halves.begin; j < halves.end; ++j) {
      const T old = x[j];
      x[j] = cosine * old + sine * y[j];
      y[j] = cosine * y[j] - sine * old;
    }
    T* d = spectrum.d;
    const T cosine_squared = cosine * cosine;
    const T sine_squared = sine * sine;
    const T d_a = d[a];
    d[a] = d_a * cosine_squared + d[b] * sine_squared;
    d[b] = d_a * sine_squared + d[b] * cosine_squared;
  }
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
