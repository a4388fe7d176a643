#pragma once

#include "core/scalar_traits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace spectralgrad::kernels {

/// A square matrix in memory that someone else owns, row by row.
template <typename scalar_t>
struct SquareMatrix {
  scalar_t* data;
  int64_t n;

  scalar_t& operator()(int64_t i, int64_t j) const {
    return data[i * n + j];
  }
  scalar_t* row(int64_t i) const {
    return data + i * n;
  }
};

template <typename scalar_t>
typename RealOf<scalar_t>::type squared_size(scalar_t x) {
  return real_part(x) * real_part(x) + imaginary_part(x) * imaginary_part(x);
}

/// Replaces A by the upper Hessenberg matrix H = Q^H A Q, and writes Q^H, row by row, to `adjoint`. By Householder
/// reflections I - beta w w^H of the columns: Golub and Van Loan (2013), "Matrix Computations", section 7.4.3.
template <typename scalar_t>
void reduce_to_hessenberg(const SquareMatrix<scalar_t>& A, const SquareMatrix<scalar_t>& adjoint) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = A.n;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      adjoint(i, j) = scalar_t(i == j ? 1 : 0);
    }
  }
  std::vector<scalar_t> w(n);
  std::vector<scalar_t> products(n);
  for (int64_t k = 0; k + 2 < n; ++k) {
    real_t largest = 0;
    for (auto i = k + 2; i < n; ++i) {
      largest = std::max(largest, std::abs(A(i, k)));
    }
    if (largest == 0) {
      continue;
    }
    largest = std::max(largest, std::abs(A(k + 1, k)));
    real_t squares = 0;
    for (auto i = k + 1; i < n; ++i) {
      w[i] = A(i, k) / largest;
      squares += squared_size(w[i]);
    }
    const auto norm = std::sqrt(squares);
    const auto first = std::abs(w[k + 1]);
    const auto phase = first == 0 ? scalar_t(1) : w[k + 1] / first;
    w[k + 1] += phase * norm;
    // beta = 2 / w^H w
    const auto beta = 1 / (norm * (norm + first));
    // Rows: A := A - beta w (w^H A), the same for Q^H.
    for (const auto* matrix : {&A, &adjoint}) {
      std::fill(products.begin(), products.end(), scalar_t(0));
      for (auto i = k + 1; i < n; ++i) {
        const auto factor = conjugate(w[i]) * beta;
        const auto* row = matrix->row(i);
        for (int64_t j = 0; j < n; ++j) {
          products[j] += factor * row[j];
        }
      }
      for (auto i = k + 1; i < n; ++i) {
        auto* row = matrix->row(i);
        for (int64_t j = 0; j < n; ++j) {
          row[j] -= w[i] * products[j];
        }
      }
    }
    // Columns: A := A - (A w) beta w^H.
    for (int64_t i = 0; i < n; ++i) {
      auto* row = A.row(i);
      scalar_t product(0);
      for (auto j = k + 1; j < n; ++j) {
        product += row[j] * w[j];
      }
      product *= beta;
      for (auto j = k + 1; j < n; ++j) {
        row[j] -= product * conjugate(w[j]);
      }
    }
    A(k + 1, k) = -phase * norm * largest;
    for (auto i = k + 2; i < n; ++i) {
      A(i, k) = scalar_t(0);
    }
  }
}

} // namespace spectralgrad::kernels
