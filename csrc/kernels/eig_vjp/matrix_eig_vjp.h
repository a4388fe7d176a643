#pragma once

#include "core/tolerances.h"
#include "kernels/blas/workspace.h"
#include "kernels/eig_vjp/eigenvector_inverse.h"
#include "kernels/eig_vjp/small_matrices.h"
#include "math/pairs/complex_pairs.h"
#include "math/pairs/judge_general.h"

#include <spectralgrad/rule.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace spectralgrad::kernels {

/// The inputs for one matrix.
template <typename real_t>
struct EigCotangents {
  const c10::complex<real_t>* eigenvalues_cotangent; // or null
  const c10::complex<real_t>* eigenvectors_cotangent; // or null
  bool cotangent_by_columns;
  const c10::complex<real_t>* eigenvalues;
  real_t matrix_size; // of math/pairs/near_defective.h
  const c10::complex<real_t>* eigenvectors;
  bool eigenvectors_by_columns;
};

/// The vjp of `eig` for matrices of one size, one at a time: the formula of math/eig.h. Each thread has its own, with
/// its own workspace.
template <typename real_t>
class MatrixEigVjp {
 public:
  using complex_t = c10::complex<real_t>;

  /// `is_real`: whether A and the gradient are. `judges`: whether losses without a gradient are looked for.
  MatrixEigVjp(int64_t n, const Rule& rule, bool is_real, bool judges)
      : n_(n),
        is_real_(is_real),
        judges_(judges),
        noise_(rule.gates() ? math::noise_gate<real_t>(rule).noise : real_t(-1)),
        pairs_(
            math::broadening_rule<real_t>(rule),
            rule.gates() ? math::noise_gate<real_t>(rule) : math::NoiseGate<real_t>{},
            rule.gates(),
            n),
        vectors_(n) {
    int64_t places[3];
    for (auto& place : places) {
      place = memory_.place<complex_t>(n * n);
    }
    const auto norms = memory_.place<real_t>(2 * n);
    memory_.allocate();
    gV_ = memory_.at<complex_t>(places[0]);
    W_ = memory_.at<complex_t>(places[1]);
    product_ = memory_.at<complex_t>(places[2]);
    cotangent_norms_ = memory_.at<real_t>(norms);
    noises_ = cotangent_norms_ + n;
  }

  /// Computes the gradient, unless eigenvectors are nearly parallel. Returns whether it did. `write(i, j, x)` takes its
  /// entries. Adds to `findings`, for matrix number `index` of the batch.
  template <typename Write>
  bool compute(
      const EigCotangents<real_t>& inputs,
      int64_t index,
      const Write& write,
      math::GeneralFindings& findings) {
    const auto* gL = inputs.eigenvalues_cotangent;
    const bool has_gV = inputs.eigenvectors_cotangent != nullptr;
    if (!vectors_.set(inputs.eigenvectors, inputs.eigenvectors_by_columns)) {
      return false;
    }
    const auto largest = math::largest_absolute(inputs.eigenvalues, n_);
    const auto largest_cotangent = math::largest_absolute(gL, n_);
    if (has_gV) {
      copy_columns(n_, inputs.eigenvectors_cotangent, inputs.cotangent_by_columns, gV_);
      find_S();
    }
    if (judges_) {
      judge(inputs, index, largest_cotangent, findings);
    }
    math::RoundOff round_off;
    if (has_gV) {
      divide(inputs, largest * largest_cotangent, round_off);
      // inner V^H; the rows of vectors_.V_conj are those of V^H.
      multiply_square<real_t>(n_, {W_, n_, 1}, {vectors_.V_conj, n_, 1}, product_);
    } else {
      for (int64_t i = 0; i < n_; ++i) {
        std::transform(vectors_.V_conj + i * n_, vectors_.V_conj + (i + 1) * n_, product_ + i * n_, [&](complex_t x) {
          return gL[i] * x;
        });
      }
    }
    // V^-H: the conjugates of the columns of V^-1 are its rows.
    auto* inverse = vectors_.inverse;
    std::transform(inverse, inverse + n_ * n_, inverse, [](complex_t x) { return std::conj(x); });
    multiply_square<real_t>(n_, {inverse, n_, 1}, {product_, n_, 1}, W_);
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        write(i, j, W_[i * n_ + j]);
      }
    }
    if (round_off.error > 0) {
      include(
          {{}, round_off.compared_with(norm_of_gradient(), c10::CppTypeToScalarType<real_t>::value, index)},
          findings);
    }
    return true;
  }

 private:
  /// S = V^H (gV - V real(diag V^H gV)) in `W_`, and the norms and the noise of the columns of gV.
  void find_S() {
    for (int64_t j = 0; j < n_; ++j) {
      const auto* g = gV_ + j * n_;
      const auto* v = vectors_.V + j * n_;
      // Relative to the largest entry, no square over- or underflows.
      real_t most = 0;
      real_t change_of_norm = 0;
      for (int64_t k = 0; k < n_; ++k) {
        most = std::max({most, std::abs(g[k].real()), std::abs(g[k].imag())});
        change_of_norm += v[k].real() * g[k].real() + v[k].imag() * g[k].imag();
      }
      const auto inverse = most > 0 && 1 / most < std::numeric_limits<real_t>::infinity() ? 1 / most : real_t(1);
      real_t sum = 0;
      for (int64_t k = 0; k < n_; ++k) {
        sum += squared(g[k] * inverse);
        product_[j * n_ + k] = g[k] - v[k] * change_of_norm;
      }
      cotangent_norms_[j] = std::sqrt(sum) / inverse;
      noises_[j] = math::cotangent_noise(cotangent_norms_[j], vectors_.norms[j], change_of_norm, n_);
    }
    multiply_square<real_t>(n_, {vectors_.V_conj, n_, 1}, {product_, 1, n_}, W_);
  }

  /// N_ij
  real_t magnitude(int64_t i, int64_t j) const {
    real_t sum = 0;
    for (int64_t k = 0; k < n_; ++k) {
      sum += math::absolute_value(vectors_.V[i * n_ + k]) * math::absolute_value(gV_[j * n_ + k]) +
          math::absolute_value(vectors_.V[j * n_ + k]) * math::absolute_value(gV_[i * n_ + k]);
    }
    return sum;
  }

  void judge(
      const EigCotangents<real_t>& inputs,
      int64_t index,
      real_t largest_cotangent,
      math::GeneralFindings& findings) const {
    const bool has_S = inputs.eigenvectors_cotangent != nullptr;
    const auto entry = [&](int64_t i, int64_t j) {
      return W_[i * n_ + j];
    };
    const auto N = [&](int64_t i, int64_t j) {
      return magnitude(i, j);
    };
    const auto found = math::judge_general(
        math::GeneralMatrix<real_t, decltype(entry), decltype(N)>{
            n_,
            inputs.eigenvalues,
            inputs.eigenvalues_cotangent,
            has_S,
            entry,
            N,
            vectors_.norms,
            cotangent_norms_,
            inputs.matrix_size,
            largest_cotangent,
            math::largest_condition(vectors_.norms, n_),
            // N is at most this.
            has_S ? 2 * *std::max_element(cotangent_norms_, cotangent_norms_ + n_) : real_t(0)},
        index);
    include(found, findings);
  }

  /// Adds what was found for one matrix to `findings`.
  void include(math::GeneralFindings found, math::GeneralFindings& findings) const {
    if (found.ill_conditioned.relative_error > 0) {
      real_t squares = 0;
      for (int64_t i = 0; i < n_; ++i) {
        squares += vectors_.norms[i] * vectors_.norms[i];
      }
      found.ill_conditioned.condition_of_V = std::sqrt(static_cast<double>(n_) * squares);
    }
    findings.include(found);
  }

  /// The Frobenius norm of the gradient in `W_`, the real part of it for real matrices.
  double norm_of_gradient() const {
    double sum = 0;
    for (int64_t i = 0; i < n_ * n_; ++i) {
      const auto re = static_cast<double>(W_[i].real());
      const auto im = is_real_ ? 0 : static_cast<double>(W_[i].imag());
      sum += re * re + im * im;
    }
    return std::sqrt(sum);
  }

  /// Replaces `W_` by diag(g_lambda) + conj(F) o S. If losses are judged, adds the error that this may cause.
  void divide(const EigCotangents<real_t>& inputs, real_t eigenvalues_scale, math::RoundOff& round_off) {
    const auto* gL = inputs.eigenvalues_cotangent;
    pairs_.set(inputs.eigenvalues);
    const auto factor = static_cast<real_t>(tolerances::general_rounding(n_));
    const auto M = std::max(*std::max_element(cotangent_norms_, cotangent_norms_ + n_), eigenvalues_scale) * factor;
    const auto eps = static_cast<real_t>(tolerances::eps(c10::CppTypeToScalarType<real_t>::value));
    const bool estimates = judges_ && math::largest_condition(vectors_.norms, n_) * tolerances::parallel > 1;
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        auto& x = W_[i * n_ + j];
        if (i == j) {
          x = gL == nullptr ? complex_t(0) : gL[i];
          continue;
        }
        const auto S = x;
        // The columns of V have norm 1.
        const auto most = real_t(1.01) * factor * (cotangent_norms_[i] + cotangent_norms_[j]);
        x = math::absolute_value(S) <= noise_ * factor * noises_[j]
            ? complex_t(0)
            : pairs_.divide(S, i, j, most, M, [&] { return factor * magnitude(i, j); });
        if (estimates) {
          const math::EigenvaluePair<real_t> pair{
              std::abs(inputs.eigenvalues[i] - inputs.eigenvalues[j]),
              inputs.matrix_size,
              math::finite_condition(vectors_.norms[i]),
              math::finite_condition(vectors_.norms[j])};
          round_off.include(pair, i, j, S, x, eps * noises_[j]);
        }
      }
    }
  }

  int64_t n_;
  bool is_real_;
  bool judges_;
  real_t noise_; // of the noise gate, negative without one
  math::ComplexPairs<real_t> pairs_;
  EigenvectorInverse<real_t> vectors_;
  Workspace memory_;
  complex_t* gV_ = nullptr; // the columns of gV as rows
  complex_t* W_ = nullptr;
  complex_t* product_ = nullptr;
  real_t* cotangent_norms_ = nullptr; // of the columns of gV
  real_t* noises_ = nullptr; // `cotangent_noise`
};

} // namespace spectralgrad::kernels
