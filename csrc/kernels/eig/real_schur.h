#pragma once

#include "core/tolerances.h"
#include "kernels/eig/hessenberg.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace spectralgrad::kernels {

/// The real Schur decomposition A = Q T Q^T by the QR algorithm with double shifts: replaces A by T, which is upper
/// triangular but for 2 x 2 blocks on its diagonal with complex eigenvalues, and writes Q^T to `adjoint`.
///
/// Martin, Peters and Wilkinson (1970), "The QR algorithm for real Hessenberg matrices", Numerische Mathematik 14.
template <typename real_t>
class RealSchur {
 public:
  RealSchur(const SquareMatrix<real_t>& A, const SquareMatrix<real_t>& adjoint) : H_(A), adjoint_(adjoint), n_(A.n) {}

  /// Returns whether it converged.
  bool run() {
    reduce_to_hessenberg(H_, adjoint_);
    for (int64_t i = 0; i < n_ * n_; ++i) {
      norm_ = std::max(norm_, std::abs(H_.data[i]));
    }
    int iterations = 0;
    for (auto last = n_ - 1; last > 0;) {
      const auto first = start_of_block(last, iterations);
      if (first > 0) {
        H_(first, first - 1) = 0;
      }
      if (first == last) {
        --last;
        iterations = 0;
      } else if (first == last - 1) {
        split_if_real(last);
        last -= 2;
        iterations = 0;
      } else if (++iterations > tolerances::largest_number_of_iterations) {
        return false;
      } else {
        step(first, last, iterations);
      }
    }
    return true;
  }

 private:
  int64_t start_of_block(int64_t last, int iterations) const {
    const auto negligible = tolerances::negligible_subdiagonal<real_t>(iterations);
    auto first = last;
    for (; first > 0; --first) {
      const auto size = std::abs(H_(first - 1, first - 1)) + std::abs(H_(first, first));
      if (std::abs(H_(first, first - 1)) <= negligible * (size == 0 ? norm_ : size)) {
        break;
      }
    }
    return first;
  }

  /// Makes the 2 x 2 block that ends at `last` triangular if its eigenvalues are real.
  void split_if_real(int64_t last) {
    const auto k = last - 1;
    const auto half = (H_(k, k) - H_(last, last)) / 2;
    const auto discriminant = half * half + H_(last, k) * H_(k, last);
    if (discriminant < 0) {
      return;
    }
    // (H - lambda) [z, x]^T = 0 in the second row, for the eigenvalue lambda = H_ll + z.
    const auto root = std::sqrt(discriminant);
    auto z = half >= 0 ? half + root : half - root;
    auto x = H_(last, k);
    const auto norm = std::hypot(x, z);
    if (norm == 0) {
      return;
    }
    x /= norm;
    z /= norm;
    rotate_rows(H_.row(k), H_.row(last), z, x);
    rotate_rows(adjoint_.row(k), adjoint_.row(last), z, x);
    for (int64_t i = 0; i <= last; ++i) {
      const auto old = H_(i, k);
      H_(i, k) = z * old + x * H_(i, last);
      H_(i, last) = z * H_(i, last) - x * old;
    }
    H_(last, k) = 0;
  }

  void rotate_rows(real_t* upper, real_t* lower, real_t c, real_t s) const {
    for (int64_t j = 0; j < n_; ++j) {
      const auto old = upper[j];
      upper[j] = c * old + s * lower[j];
      lower[j] = c * lower[j] - s * old;
    }
  }

  /// One step with two shifts on the rows and columns `first` to `last`, at least three.
  void step(int64_t first, int64_t last, int iterations) {
    // The shifts are the eigenvalues of the last 2 x 2 block: of [[a, .], [., d]] with this product of the other two.
    auto a = H_(last - 1, last - 1);
    auto d = H_(last, last);
    auto product = H_(last, last - 1) * H_(last - 1, last);
    if (iterations % 10 == 0) {
      // Exceptional shifts, for matrices on which the usual ones repeat themselves.
      const auto size = std::abs(H_(last, last - 1)) + std::abs(H_(last - 1, last - 2));
      d += real_t(0.75) * size;
      a = d;
      product = real_t(-0.4375) * size * size;
    }
    // The first column of (H - shift)(H - other shift), divided by its entry below the diagonal. Only differences of
    // diagonal entries occur, because in a cluster of eigenvalues these are small.
    const auto corner = H_(first, first);
    auto p = ((a - corner) * (d - corner) - product) / H_(first + 1, first) + H_(first, first + 1);
    auto q = (H_(first + 1, first + 1) - corner) - (a - corner) - (d - corner);
    auto r = H_(first + 2, first + 1);
    for (auto k = first; k < last; ++k) {
      const bool three = k + 2 <= last;
      if (k > first) {
        p = H_(k, k - 1);
        q = H_(k + 1, k - 1);
        r = three ? H_(k + 2, k - 1) : 0;
      }
      const auto size = std::max({std::abs(p), std::abs(q), std::abs(r)});
      if (size == 0) {
        continue;
      }
      p /= size;
      q /= size;
      r /= size;
      const auto norm = std::copysign(std::sqrt(p * p + q * q + r * r), p);
      if (k > first) {
        H_(k, k - 1) = -norm * size;
        H_(k + 1, k - 1) = 0;
        if (three) {
          H_(k + 2, k - 1) = 0;
        }
      }
      // The reflection I - u v^T with u = [p + norm, q, r]/norm and v = [1, q, r]/(p + norm).
      const auto pivot = p + norm;
      const real_t u[] = {pivot / norm, q / norm, r / norm};
      const real_t v[] = {1, q / pivot, r / pivot};
      reflect_rows(H_, k, three, u, v, k);
      reflect_rows(adjoint_, k, three, u, v, 0);
      const auto bottom = std::min(last, k + 3);
      for (int64_t i = 0; i <= bottom; ++i) {
        auto* x = H_.row(i) + k;
        const auto t = u[0] * x[0] + u[1] * x[1] + (three ? u[2] * x[2] : 0);
        x[0] -= t * v[0];
        x[1] -= t * v[1];
        if (three) {
          x[2] -= t * v[2];
        }
      }
    }
  }

  void reflect_rows(
      const SquareMatrix<real_t>& matrix,
      int64_t k,
      bool three,
      const real_t (&u)[3],
      const real_t (&v)[3],
      int64_t from) const {
    auto* x = matrix.row(k);
    auto* y = matrix.row(k + 1);
    if (!three) {
      for (auto j = from; j < n_; ++j) {
        const auto t = x[j] + v[1] * y[j];
        x[j] -= t * u[0];
        y[j] -= t * u[1];
      }
      return;
    }
    auto* z = matrix.row(k + 2);
    for (auto j = from; j < n_; ++j) {
      const auto t = x[j] + v[1] * y[j] + v[2] * z[j];
      x[j] -= t * u[0];
      y[j] -= t * u[1];
      z[j] -= t * u[2];
    }
  }

  const SquareMatrix<real_t>& H_;
  const SquareMatrix<real_t>& adjoint_;
  int64_t n_;
  real_t norm_ = 0;
};

} // namespace spectralgrad::kernels
