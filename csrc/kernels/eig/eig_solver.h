#pragma once

#include "core/scalar_traits.h"
#include "kernels/blas/geev.h"
#include "kernels/blas/multiply.h"
#include "kernels/blas/workspace.h"
#include "kernels/eig/eig_of_two_rows.h"
#include "kernels/eig/normal_eig.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace spectralgrad::kernels {

/// Decomposes matrices of one size, one at a time. Each thread has its own solver, with its own workspace.
template <typename scalar_t>
class EigSolver {
 public:
  using real_t = typename RealOf<scalar_t>::type;
  using complex_t = c10::complex<real_t>;

  EigSolver(int64_t n, bool vectors) : n_(n), vectors_(vectors), normality_(n) {
    scalar_t size{};
    // MKL writes to some of the others, too.
    scalar_t unused{};
    real_t unused_reals[2]{};
    geev<scalar_t, real_t>(
        vectors,
        static_cast<int>(n),
        &unused,
        &unused,
        unused_reals,
        &unused,
        &size,
        -1,
        unused_reals);
    // Rounded up, because a large size is not exact in single precision.
    work_size_ = static_cast<int>(std::nextafter(real_part(size), std::numeric_limits<real_t>::infinity()));
    const auto matrix = memory_.place<scalar_t>(n * n);
    const auto values = memory_.place<scalar_t>(n);
    const auto imaginary = memory_.place<real_t>(n);
    const auto V = memory_.place<scalar_t>(n * n);
    const auto work = memory_.place<scalar_t>(work_size_);
    const auto reals = memory_.place<real_t>(2 * n);
    memory_.allocate();
    matrix_ = memory_.at<scalar_t>(matrix);
    values_ = memory_.at<scalar_t>(values);
    imaginary_ = memory_.at<real_t>(imaginary);
    V_ = memory_.at<scalar_t>(V);
    work_ = memory_.at<scalar_t>(work);
    reals_ = memory_.at<real_t>(reals);
  }

  /// Decomposes the matrix `A`, contiguous and finite. Writes the eigenvalues, and the eigenvectors, column by column,
  /// unless null. Returns whether it converged.
  bool decompose(const scalar_t* A, bool by_rows, complex_t* values, complex_t* V) {
    if (n_ == 1) {
      *values = *A;
      if (V != nullptr) {
        *V = 1;
      }
      return true;
    }
    if (n_ == 2 && EigOfTwoRows<scalar_t>(A, by_rows).decompose(values, V)) {
      return true;
    }
    const bool is_large = n_ > largest_without_blocks;
    if (is_large && by_geev(A, by_rows, values, V) && (V == nullptr || !is_normal(A, by_rows) || is_orthonormal(V))) {
      return true;
    }
    const auto unit = load_scaled(A, by_rows);
    const SquareMatrix<scalar_t> scaled{matrix_, n_};
    if (normality_.is_normal(scaled)) {
      const bool hermitian = is_hermitian(scaled);
      if (normal_eig(scaled, {V_, n_}, values, V)) {
        std::transform(values, values + n_, values, [&](complex_t x) {
          return hermitian ? complex_t(x.real() * unit) : x * unit;
        });
        return true;
      }
    }
    return by_geev(A, by_rows, values, V);
  }

 private:
  /// Up to this n, the QR algorithm without blocks is no slower than LAPACK. For larger normal matrices it only runs if
  /// LAPACK's eigenvectors are not orthonormal: if eigenvalues are near each other.
  static constexpr int64_t largest_without_blocks = 64;

  bool by_geev(const scalar_t* A, bool by_rows, complex_t* values, complex_t* V) {
    load(A, by_rows);
    const auto info = geev(vectors_, static_cast<int>(n_), matrix_, values_, imaginary_, V_, work_, work_size_, reals_);
    write(values, V);
    return info == 0;
  }

  bool is_normal(const scalar_t* A, bool by_rows) {
    load_scaled(A, by_rows);
    return normality_.is_normal({matrix_, n_});
  }

  /// Whether the columns of V are orthonormal up to sqrt(eps), so that nothing is lost by V^-1.
  bool is_orthonormal(const complex_t* V) const {
    std::vector<complex_t> conjugates(n_ * n_);
    std::vector<complex_t> products(n_ * n_);
    std::transform(V, V + n_ * n_, conjugates.begin(), [](complex_t x) { return std::conj(x); });
    multiply<complex_t>(n_, n_, n_, {conjugates.data(), n_, 1}, {V, 1, n_}, products.data(), n_);
    const auto tolerance = static_cast<real_t>(tolerances::gauge(c10::CppTypeToScalarType<real_t>::value));
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        if (!(squared_size(products[i * n_ + j]) <= tolerance * tolerance)) {
          return false;
        }
      }
    }
    return true;
  }

  /// Copies the matrix column by column, as LAPACK reads it.
  void load(const scalar_t* A, bool by_rows) {
    if (by_rows) {
      transpose(A, real_t(1));
    } else {
      std::copy_n(A, n_ * n_, matrix_);
    }
  }

  /// Copies the matrix row by row, divided by a power of two that makes its entries about 1. Returns the power.
  real_t load_scaled(const scalar_t* A, bool by_rows) {
    real_t largest = 0;
    const auto* parts = reinterpret_cast<const real_t*>(A);
    for (int64_t i = 0; i < n_ * n_ * parts_of<scalar_t>; ++i) {
      largest = std::max(largest, std::abs(parts[i]));
    }
    // The inverse of the unit must not overflow.
    const auto exponent = std::max(largest == 0 ? 0 : std::ilogb(largest), std::numeric_limits<real_t>::min_exponent);
    const auto unit = std::ldexp(real_t(1), exponent);
    if (by_rows) {
      std::transform(A, A + n_ * n_, matrix_, [&](scalar_t x) { return x / unit; });
    } else {
      transpose(A, unit);
    }
    return unit;
  }

  /// Copies the transpose, divided by `unit`.
  void transpose(const scalar_t* A, real_t unit) {
    // In blocks, because the columns of a large matrix share a few cache sets.
    constexpr int64_t block = 16;
    for (int64_t first = 0; first < n_; first += block) {
      const auto last = std::min(n_, first + block);
      for (int64_t j = 0; j < n_; ++j) {
        for (auto i = first; i < last; ++i) {
          matrix_[j * n_ + i] = A[i * n_ + j] / unit;
        }
      }
    }
  }

  static bool is_hermitian(const SquareMatrix<scalar_t>& A) {
    for (int64_t i = 0; i < A.n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        if (A(i, j) != conjugate(A(j, i))) {
          return false;
        }
      }
    }
    return true;
  }

  /// Writes the results of geev.
  void write(complex_t* values, complex_t* V) const {
    if constexpr (parts_of<scalar_t> == 2) {
      std::copy_n(values_, n_, values);
      if (V != nullptr) {
        std::copy_n(V_, n_ * n_, V);
      }
    } else {
      for (int64_t i = 0; i < n_; ++i) {
        values[i] = complex_t(values_[i], imaginary_[i]);
      }
      for (int64_t i = 0; V != nullptr && i < n_; ++i) {
        const auto* x = V_ + i * n_;
        if (imaginary_[i] == 0) {
          std::copy_n(x, n_, V + i * n_);
          continue;
        }
        // A pair of conjugate eigenvectors, as real and imaginary part.
        for (int64_t k = 0; k < n_; ++k) {
          V[i * n_ + k] = complex_t(x[k], x[n_ + k]);
          V[(i + 1) * n_ + k] = complex_t(x[k], -x[n_ + k]);
        }
        ++i;
      }
    }
  }

  int64_t n_;
  bool vectors_;
  NormalityTest<scalar_t> normality_;
  int work_size_ = 0;
  Workspace memory_;
  scalar_t* matrix_ = nullptr;
  scalar_t* values_ = nullptr;
  real_t* imaginary_ = nullptr;
  scalar_t* V_ = nullptr;
  scalar_t* work_ = nullptr;
  real_t* reals_ = nullptr;
};

} // namespace spectralgrad::kernels
