#pragma once

#include "kernels/blas/getrf.h"
#include "kernels/blas/multiply.h"

#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

// Products and inverses of complex n x n matrices, with loops of their own for small n, for which a call of BLAS takes
// longer than the product.
namespace spectralgrad::kernels {

/// Up to this n, loops are faster than BLAS and LAPACK.
inline constexpr int64_t largest_for_loops = 4;

template <typename real_t>
using ComplexMatrices = simd::Matrices<c10::complex<real_t>>;

template <typename real_t>
real_t squared(c10::complex<real_t> x) {
  return x.real() * x.real() + x.imag() * x.imag();
}

/// Copies the columns of the n x n matrix `from` to the rows of `to`.
template <typename real_t>
void copy_columns(int64_t n, const c10::complex<real_t>* from, bool by_columns, c10::complex<real_t>* to) {
  if (by_columns) {
    std::copy_n(from, n * n, to);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      to[j * n + i] = from[i * n + j];
    }
  }
}

/// C = A B, row by row.
template <typename real_t>
void multiply_square(
    int64_t n,
    const ComplexMatrices<real_t>& A,
    const ComplexMatrices<real_t>& B,
    c10::complex<real_t>* C) {
  if (n > largest_for_loops) {
    multiply<c10::complex<real_t>>(n, n, n, A, B, C, n);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      real_t re = 0;
      real_t im = 0;
      for (int64_t k = 0; k < n; ++k) {
        const auto x = A.data[i * A.down + k * A.right];
        const auto y = B.data[k * B.down + j * B.right];
        re += x.real() * y.real() - x.imag() * y.imag();
        im += x.real() * y.imag() + x.imag() * y.real();
      }
      C[i * n + j] = {re, im};
    }
  }
}

/// Replaces `A`, n x n, by something else, and writes its inverse to `inverse`, both row by row or both column by
/// column. Returns whether A is not singular; if it is, `inverse` has no meaning.
template <typename real_t>
bool invert(int64_t n, c10::complex<real_t>* A, c10::complex<real_t>* inverse, int* pivots) {
  using complex_t = c10::complex<real_t>;
  if (n > largest_for_loops) {
    return invert_by_lapack(static_cast<int>(n), A, inverse, pivots);
  }
  // Gauss-Jordan elimination with row pivoting.
  for (int64_t i = 0; i < n * n; ++i) {
    inverse[i] = complex_t(i % (n + 1) == 0 ? 1 : 0);
  }
  const auto size = [](complex_t x) {
    return std::max(std::abs(x.real()), std::abs(x.imag()));
  };
  for (int64_t k = 0; k < n; ++k) {
    auto pivot = k;
    for (auto i = k + 1; i < n; ++i) {
      if (size(A[pivot * n + k]) < size(A[i * n + k])) {
        pivot = i;
      }
    }
    if (A[pivot * n + k] == complex_t(0)) {
      return false;
    }
    if (pivot != k) {
      std::swap_ranges(A + k * n, A + (k + 1) * n, A + pivot * n);
      std::swap_ranges(inverse + k * n, inverse + (k + 1) * n, inverse + pivot * n);
    }
    const auto factor = complex_t(1) / A[k * n + k];
    for (int64_t j = 0; j < n; ++j) {
      A[k * n + j] *= factor;
      inverse[k * n + j] *= factor;
    }
    for (int64_t i = 0; i < n; ++i) {
      const auto entry = A[i * n + k];
      if (i == k || entry == complex_t(0)) {
        continue;
      }
      for (int64_t j = 0; j < n; ++j) {
        A[i * n + j] -= entry * A[k * n + j];
        inverse[i * n + j] -= entry * inverse[k * n + j];
      }
    }
  }
  return true;
}

} // namespace spectralgrad::kernels
