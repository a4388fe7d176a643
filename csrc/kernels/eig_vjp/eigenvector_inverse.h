#pragma once

#include "core/tolerances.h"
#include "kernels/blas/workspace.h"
#include "kernels/eig_vjp/small_matrices.h"

#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace spectralgrad::kernels {

/// The inverse of the matrix V of eigenvectors, for matrices of one size, one at a time. Each thread has its own, with
/// its own workspace.
template <typename real_t>
class EigenvectorInverse {
 public:
  using complex_t = c10::complex<real_t>;

  explicit EigenvectorInverse(int64_t n) : n_(n) {
    int64_t places[4];
    for (auto& place : places) {
      place = memory_.place<complex_t>(n * n);
    }
    const auto place_of_norms = memory_.place<real_t>(n);
    const auto pivots = memory_.place<int>(n);
    memory_.allocate();
    V = memory_.at<complex_t>(places[0]);
    V_conj = memory_.at<complex_t>(places[1]);
    inverse = memory_.at<complex_t>(places[2]);
    factors_ = memory_.at<complex_t>(places[3]);
    norms = memory_.at<real_t>(place_of_norms);
    pivots_ = memory_.at<int>(pivots);
  }

  complex_t* V = nullptr; // the columns of V as rows
  complex_t* V_conj = nullptr; // V^H, row by row
  complex_t* inverse = nullptr; // the columns of V^-1 as rows
  real_t* norms = nullptr; // of the rows of V^-1

  /// Reads the eigenvectors and computes the rest. Returns false if eigenvectors are nearly parallel.
  bool set(const complex_t* eigenvectors, bool by_columns) {
    copy_columns(n_, eigenvectors, by_columns, V);
    std::transform(V, V + n_ * n_, V_conj, [](complex_t x) { return std::conj(x); });
    std::copy_n(V, n_ * n_, factors_);
    // The rows of `factors_` are the columns of V, and those of `inverse` will be the columns of V^-1.
    if (!invert(n_, factors_, inverse, pivots_)) {
      return false;
    }
    find_norms();
    return !has_parallel_vectors();
  }

 private:
  void find_norms() {
    std::fill_n(norms, n_, real_t(0));
    for (int64_t k = 0; k < n_; ++k) {
      for (int64_t i = 0; i < n_; ++i) {
        norms[i] += squared(inverse[k * n_ + i]);
      }
    }
    std::transform(norms, norms + n_, norms, [](real_t x) { return std::sqrt(x); });
  }

  /// NaN counts, so that tensor code decides what becomes of it.
  bool has_parallel_vectors() const {
    // The angle between eigenvectors i and j has a sine of at least 1/kappa_i.
    constexpr auto most = static_cast<real_t>(1 / tolerances::parallel);
    if (std::all_of(norms, norms + n_, [](real_t x) { return x < most; })) {
      return false;
    }
    multiply_square<real_t>(n_, {V_conj, n_, 1}, {V, 1, n_}, factors_);
    constexpr auto limit = static_cast<real_t>(1 - tolerances::parallel * tolerances::parallel);
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        if (!(squared(factors_[i * n_ + j]) < limit)) {
          return true;
        }
      }
    }
    return false;
  }

  int64_t n_;
  Workspace memory_;
  complex_t* factors_ = nullptr; // also a workspace
  int* pivots_ = nullptr;
};

} // namespace spectralgrad::kernels
