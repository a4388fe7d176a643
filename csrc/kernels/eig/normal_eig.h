#pragma once

#include "kernels/eig/complex_schur.h"
#include "kernels/eig/real_schur.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

// Eigenvectors of normal matrices: those with A^H A = A A^H, such as rotations, permutations, and symmetric,
// skew-symmetric and unitary matrices. LAPACK's geev solves triangular systems for eigenvectors, which divides
// round-off by the gaps. At a repeated eigenvalue that gives vectors that are not orthogonal, and nearly parallel in
// bad cases. The Schur vectors of a normal matrix are its eigenvectors, so they are orthonormal at every gap.
namespace spectralgrad::kernels {

/// Whether A is normal up to its round-off.
///
/// Entry (i, j) of A^H A - A A^H is compared with the sizes of the rows and columns i and j. So a small block that is
/// not normal is found beside large ones.
template <typename scalar_t>
class NormalityTest {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  explicit NormalityTest(int64_t n) : n_(n), columns_(n), rows_(n), differences_(n) {}

  /// `A` is finite, and its entries are at most about 1.
  bool is_normal(const SquareMatrix<scalar_t>& A) {
    std::fill(columns_.begin(), columns_.end(), real_t(0));
    for (int64_t i = 0; i < n_; ++i) {
      rows_[i] = 0;
      for (int64_t j = 0; j < n_; ++j) {
        const auto square = squared_size(A(i, j));
        rows_[i] += square;
        columns_[j] += square;
      }
    }
    const auto tolerance = tolerances::normal_matrix<real_t>(n_);
    // The diagonal of the difference decides for nearly every matrix that is not normal.
    for (int64_t i = 0; i < n_; ++i) {
      if (!(std::abs(rows_[i] - columns_[i]) <= tolerance * (rows_[i] + columns_[i]))) {
        return false;
      }
      rows_[i] = std::sqrt(rows_[i] + columns_[i]);
    }
    for (int64_t i = 0; i < n_; ++i) {
      // Row i of A A^H, then that of A^H A.
      std::fill(differences_.begin(), differences_.end(), scalar_t(0));
      for (int64_t k = 0; k < n_; ++k) {
        const auto factor = conjugate(A(k, i));
        for (int64_t j = 0; j < n_; ++j) {
          differences_[j] += factor * A(k, j);
        }
      }
      for (int64_t j = 0; j < n_; ++j) {
        scalar_t product(0);
        for (int64_t k = 0; k < n_; ++k) {
          product += A(i, k) * conjugate(A(j, k));
        }
        if (!(std::abs(differences_[j] - product) <= tolerance * rows_[i] * rows_[j])) {
          return false;
        }
      }
    }
    return true;
  }

 private:
  int64_t n_;
  std::vector<real_t> columns_;
  std::vector<real_t> rows_;
  std::vector<scalar_t> differences_;
};

/// Whether the Schur form T of a matrix that passed `NormalityTest` is diagonal up to round-off, but for blocks [[a,
/// b], [-b, a]] if it is real. A^H A - A A^H is of second order in the rest of T around a multiple of the identity.
template <typename scalar_t>
bool is_normal_schur(const SquareMatrix<scalar_t>& T) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = T.n;
  real_t norm = 0;
  for (int64_t i = 0; i < n * n; ++i) {
    norm = std::max(norm, std::abs(T.data[i]));
  }
  const auto tolerance = tolerances::normal_matrix<real_t>(n) * norm;
  for (int64_t i = 0; i < n; ++i) {
    for (auto j = i + 1; j < n; ++j) {
      const bool in_block = j == i + 1 && T(j, i) != scalar_t(0);
      const auto rest = in_block ? std::max(std::abs(T(i, j) + T(j, i)), std::abs(T(i, i) - T(j, j)))
                                 : std::abs(T(i, j));
      if (!(rest <= tolerance)) {
        return false;
      }
    }
  }
  return true;
}

/// Multiplies the vector of n numbers at `v` so that its largest component is real and positive: LAPACK's
/// normalisation, which leaves no phase free.
template <typename real_t>
void make_largest_component_real(c10::complex<real_t>* v, int64_t n) {
  int64_t largest = 0;
  for (int64_t i = 1; i < n; ++i) {
    if (squared_size(v[i]) > squared_size(v[largest])) {
      largest = i;
    }
  }
  const auto size = std::abs(v[largest]);
  if (size == 0 || (v[largest].imag() == 0 && v[largest].real() > 0)) {
    return;
  }
  const auto phase = std::conj(v[largest]) / size;
  for (int64_t i = 0; i < n; ++i) {
    v[i] *= phase;
  }
  v[largest] = size;
}

/// Reads the eigenvalues, and the eigenvectors, column by column unless null, from the Schur form T of a normal matrix
/// and Q^H.
template <typename real_t>
void read_normal_schur(
    const SquareMatrix<c10::complex<real_t>>& T,
    const SquareMatrix<c10::complex<real_t>>& adjoint,
    c10::complex<real_t>* values,
    c10::complex<real_t>* V) {
  const auto n = T.n;
  for (int64_t i = 0; i < n; ++i) {
    values[i] = T(i, i);
    if (V != nullptr) {
      std::transform(adjoint.row(i), adjoint.row(i) + n, V + i * n, [](auto x) { return std::conj(x); });
      make_largest_component_real(V + i * n, n);
    }
  }
}

/// The same for real matrices. Eigenvectors of real eigenvalues are real, and those of a pair of complex eigenvalues
/// are conjugate.
template <typename real_t>
void read_normal_schur(
    const SquareMatrix<real_t>& T,
    const SquareMatrix<real_t>& adjoint,
    c10::complex<real_t>* values,
    c10::complex<real_t>* V) {
  using complex_t = c10::complex<real_t>;
  const auto n = T.n;
  real_t norm = 0;
  for (int64_t i = 0; i < n * n; ++i) {
    norm = std::max(norm, std::abs(T.data[i]));
  }
  const auto negligible = static_cast<real_t>(
                              tolerances::same_eigenvalue * tolerances::eps(c10::CppTypeToScalarType<real_t>::value)) *
      norm;
  for (int64_t i = 0; i < n; ++i) {
    auto* v = V == nullptr ? nullptr : V + i * n;
    const bool is_pair = i + 1 < n && T(i + 1, i) != 0 &&
        std::max(std::abs(T(i + 1, i)), std::abs(T(i, i + 1))) > negligible;
    if (!is_pair) {
      values[i] = T(i, i);
      if (v != nullptr) {
        std::copy_n(adjoint.row(i), n, v);
      }
      continue;
    }
    // The block is [[a, b], [-b, a]] up to round-off.
    const auto a = (T(i, i) + T(i + 1, i + 1)) / 2;
    const auto b = (T(i, i + 1) - T(i + 1, i)) / 2;
    values[i] = complex_t(a, std::abs(b));
    values[i + 1] = complex_t(a, -std::abs(b));
    if (v != nullptr) {
      const auto* x = adjoint.row(i);
      const auto* y = adjoint.row(i + 1);
      const auto root_half = std::sqrt(real_t(0.5));
      for (int64_t k = 0; k < n; ++k) {
        v[k] = complex_t(x[k], b > 0 ? y[k] : -y[k]) * root_half;
      }
      make_largest_component_real(v, n);
      std::transform(v, v + n, v + n, [](auto z) { return std::conj(z); });
    }
    ++i;
  }
}

/// Decomposes a matrix A that passed `NormalityTest`. A is overwritten, and `adjoint` is a workspace. Returns whether A
/// is normal and the algorithm converged; if not, the results have no meaning.
template <typename scalar_t>
bool normal_eig(
    const SquareMatrix<scalar_t>& A,
    const SquareMatrix<scalar_t>& adjoint,
    c10::complex<typename RealOf<scalar_t>::type>* values,
    c10::complex<typename RealOf<scalar_t>::type>* V) {
  bool converged = false;
  if constexpr (parts_of<scalar_t> == 1) {
    converged = RealSchur<scalar_t>(A, adjoint).run();
  } else {
    converged = complex_schur(A, adjoint);
  }
  if (!converged || !is_normal_schur(A)) {
    return false;
  }
  read_normal_schur(A, adjoint, values, V);
  return true;
}

} // namespace spectralgrad::kernels
