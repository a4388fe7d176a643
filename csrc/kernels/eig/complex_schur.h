#pragma once

#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "kernels/eig/hessenberg.h"

#include <cmath>
#include <cstdint>

namespace spectralgrad::kernels {

/// A plane rotation of rows: [x, y] becomes [c x + s y, c y - conj(s) x], with real c.
template <typename real_t>
struct ComplexRotation {
  using complex_t = c10::complex<real_t>;
  real_t c = 1;
  complex_t s = 0;

  /// The rotation that makes the second component of [x, y] zero.
  static ComplexRotation eliminating(complex_t x, complex_t y) {
    const auto size_x = std::abs(x);
    const auto size_y = std::abs(y);
    if (size_y == 0) {
      return {};
    }
    if (size_x == 0) {
      return {0, std::conj(y) / size_y};
    }
    const auto norm = std::hypot(size_x, size_y);
    return {size_x / norm, (x / size_x) * (std::conj(y) / norm)};
  }

  void of_rows(complex_t* x, complex_t* y, int64_t count) const {
    for (int64_t j = 0; j < count; ++j) {
      const auto old = x[j];
      x[j] = c * old + s * y[j];
      y[j] = c * y[j] - std::conj(s) * old;
    }
  }
};

/// The Schur decomposition A = Q T Q^H by the QR algorithm with Wilkinson's shifts: replaces A by the upper triangular
/// T, and writes Q^H to `adjoint`. Returns whether it converged. Golub and Van Loan (2013), "Matrix Computations",
/// section 7.5.
template <typename real_t>
bool complex_schur(const SquareMatrix<c10::complex<real_t>>& A, const SquareMatrix<c10::complex<real_t>>& adjoint) {
  using complex_t = c10::complex<real_t>;
  const auto n = A.n;
  reduce_to_hessenberg(A, adjoint);
  std::vector<ComplexRotation<real_t>> rotations(n);
  real_t norm = 0;
  for (int64_t i = 0; i < n * n; ++i) {
    norm = std::max(norm, std::abs(A.data[i]));
  }
  int iterations = 0;
  const auto is_negligible = [&](int64_t k) {
    const auto size = std::abs(A(k - 1, k - 1)) + std::abs(A(k, k));
    return std::abs(A(k, k - 1)) <= tolerances::negligible_subdiagonal<real_t>(iterations) * (size == 0 ? norm : size);
  };
  for (auto last = n - 1; last > 0;) {
    auto first = last;
    while (first > 0 && !is_negligible(first)) {
      --first;
    }
    if (first > 0) {
      A(first, first - 1) = complex_t(0);
    }
    if (first == last) {
      --last;
      iterations = 0;
      continue;
    }
    if (++iterations > tolerances::largest_number_of_iterations) {
      return false;
    }
    const auto d = A(last, last);
    complex_t shift;
    if (iterations % 10 == 0) {
      // An exceptional shift, for matrices on which the usual one repeats itself.
      shift = d + std::abs(A(last, last - 1));
    } else {
      // The eigenvalue of the last 2 x 2 block that is nearer to its last entry.
      const auto half = (A(last - 1, last - 1) - d) / real_t(2);
      const auto product = A(last - 1, last) * A(last, last - 1);
      const auto root = std::sqrt(half * half + product);
      const auto sum = std::abs(half + root) < std::abs(half - root) ? half - root : half + root;
      shift = sum == complex_t(0) ? d : d - product / sum;
    }
    for (auto k = first; k <= last; ++k) {
      A(k, k) -= shift;
    }
    for (auto k = first; k < last; ++k) {
      rotations[k] = ComplexRotation<real_t>::eliminating(A(k, k), A(k + 1, k));
      rotations[k].of_rows(A.row(k) + k, A.row(k + 1) + k, n - k);
      rotations[k].of_rows(adjoint.row(k), adjoint.row(k + 1), n);
      A(k + 1, k) = complex_t(0);
    }
    for (auto k = first; k < last; ++k) {
      const auto& [c, s] = rotations[k];
      for (int64_t i = 0; i <= k + 1; ++i) {
        const auto x = A(i, k);
        const auto y = A(i, k + 1);
        A(i, k) = c * x + std::conj(s) * y;
        A(i, k + 1) = c * y - s * x;
      }
    }
    for (auto k = first; k <= last; ++k) {
      A(k, k) += shift;
    }
  }
  return true;
}

} // namespace spectralgrad::kernels
