#pragma once

#include "math/pairs/gauge_report.h"
#include "math/pairs/judge.h"
#include "math/pairs/near_defective.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

// Decides from the cotangents of one general matrix whether the loss has a gradient through its eigenvalues and
// eigenvectors. math/pairs/judge_eigenvectors.h explains the statistics.
namespace spectralgrad::math {

/// The numbers of one matrix. `entry(i, j)` returns S_ij and `magnitude(i, j)` N_ij; they are called only if `has_S`.
template <typename real_t, typename Entry, typename Magnitude>
struct GeneralMatrix {
  using complex_t = c10::complex<real_t>;

  int64_t n;
  const complex_t* eigenvalues;
  const complex_t* cotangents; // or null
  bool has_S;
  const Entry& entry;
  const Magnitude& magnitude;
  const real_t* inverse_norms; // of the rows of V^-1
  const real_t* cotangent_norms; // of the columns of gV, only if `has_S`
  real_t largest; // the size of A
  real_t largest_cotangent; // max|g_lambda|
  real_t largest_condition; // max kappa
  real_t largest_magnitude; // an upper bound of N, or the largest

  real_t condition(int64_t i) const {
    return finite_condition(inverse_norms[i]);
  }

  EigenvaluePair<real_t> pair(int64_t i, int64_t j) const {
    return {std::abs(eigenvalues[i] - eigenvalues[j]), largest, condition(i), condition(j)};
  }
};

/// The properties of a loss for which it has no gradient, or an inaccurate one.
struct GeneralFindings {
  Verdict verdict;
  IllConditioned ill_conditioned;

  /// Includes the findings for another matrix of the batch.
  void include(const GeneralFindings& other) {
    if (other.verdict.is_more_severe_than(verdict)) {
      verdict = other.verdict;
    }
    const auto error = other.ill_conditioned.relative_error;
    const bool is_earlier = other.ill_conditioned.matrix < ill_conditioned.matrix;
    if (error > ill_conditioned.relative_error ||
        (error == ill_conditioned.relative_error && error > 0 && is_earlier)) {
      ill_conditioned = other.ill_conditioned;
    }
  }

  /// Reports the most severe finding.
  void report() const {
    const bool any = ill_conditioned.relative_error > 0;
    const bool first = ill_conditioned.defective ? verdict.finding != Finding::phases
                                                 : verdict.finding == Finding::none;
    if (any && first) {
      report_ill_conditioned(ill_conditioned);
    } else {
      math::report(verdict);
    }
  }
};

/// The findings for the matrix number `index` of the batch. Those for an ill-conditioned V lack `condition_of_V`.
template <typename real_t, typename Entry, typename Magnitude>
GeneralFindings judge_general(const GeneralMatrix<real_t, Entry, Magnitude>& matrix, int64_t index) {
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const auto eps = static_cast<real_t>(tolerances::eps(dtype));
  const auto n = matrix.n;
  const auto scale = [&] {
    return std::max(matrix.largest_magnitude, matrix.largest * matrix.largest_cotangent);
  };
  const Significance<real_t, Magnitude, decltype(scale)> significance(matrix.largest, matrix.magnitude, scale);
  const auto tolerance = std::max(
      static_cast<real_t>(tolerances::gauge(dtype)),
      static_cast<real_t>(tolerances::finding_floor) * eps * matrix.largest_condition);
  const auto is_significant = [&](real_t size, int64_t i, int64_t j) {
    // The cheapest test comes first, and N last.
    return !significance.may_be_of_matrix(size) && significance.stands_out(size) &&
        significance.exceeds(size, tolerance, 0, i, j);
  };
  // The projector onto all eigenvectors has a gV that is round-off of V^-1, in float32 too.
  const auto cancelled = static_cast<real_t>(tolerances::same_eigenvalue) * eps * std::min(matrix.largest, real_t(1));
  for (int64_t i = 0; matrix.has_S && i < n; ++i) {
    const auto size = std::abs(matrix.entry(i, i).imag());
    if (size > cancelled * matrix.condition(i) && is_significant(size, i, i)) {
      return {{Finding::phases, index, i, i}, {}};
    }
  }
  GeneralFindings result;
  // Pairs with larger gaps are neither degenerate nor nearly defective.
  const auto reach = eps * matrix.largest * matrix.largest_condition *
      static_cast<real_t>(std::max(tolerances::same_eigenvalue, 1 / tolerances::near_defective(dtype)));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n; ++j) {
      const auto difference = matrix.eigenvalues[i] - matrix.eigenvalues[j];
      if (std::max(std::abs(difference.real()), std::abs(difference.imag())) > reach) {
        continue;
      }
      const auto pair = matrix.pair(i, j);
      const bool degenerate = pair.is_degenerate();
      const auto error = pair.relative_error();
      if (!degenerate && !(error > static_cast<real_t>(tolerances::near_defective(dtype)))) {
        continue;
      }
      const bool distinguished = matrix.cotangents != nullptr &&
          pair.are_distinguished(matrix.cotangents[i], matrix.cotangents[j], matrix.largest_cotangent) &&
          (matrix.largest == 0 ||
           significance.stands_out(std::abs(matrix.cotangents[i] - matrix.cotangents[j]) * matrix.largest));
      const bool parallel = pair.worse_condition() * static_cast<real_t>(tolerances::parallel) > 1;
      // With equal eigenvectors, S_ij cancels for a Riesz projector onto the pair, but its round-off does not.
      const auto is_used = [&](int64_t k) {
        return significance.stands_out(matrix.cotangent_norms[k]);
      };
      const bool turned = matrix.has_S &&
          (is_significant(std::abs(matrix.entry(i, j)), i, j) || is_significant(std::abs(matrix.entry(j, i)), j, i) ||
           (parallel && degenerate && (is_used(i) || is_used(j))));
      if (!distinguished && !turned) {
        continue;
      }
      if (parallel) {
        const auto error_now = degenerate ? real_t(1) : std::min(error, real_t(1));
        if (error_now > result.ill_conditioned.relative_error) {
          result.ill_conditioned = {
              degenerate,
              index,
              i,
              j,
              static_cast<double>(pair.first_condition),
              static_cast<double>(pair.second_condition),
              static_cast<double>(error_now),
              0};
        }
        continue;
      }
      if (!degenerate) {
        continue;
      }
      const auto finding = turned ? Finding::basis : matrix.has_S ? Finding::lost_limit : Finding::not_differentiable;
      if (finding < result.verdict.finding) {
        result.verdict = {finding, index, i, j};
      }
    }
  }
  return result;
}

/// The largest error of the gradient of one matrix that round-off of a single S_ij may cause.
///
/// Entry (i, j) of D = conj(F) o S adds kappa_i |D_ij| to the norm of the gradient V^-H D V^H, so an error e of S_ij
/// adds kappa_i e/|lambda_j - lambda_i|. Entries that the noise gate drops for a nearly defective pair have no error,
/// because S_ij cancels for Riesz projectors onto the pair.
struct RoundOff {
  double error = 0; // absolute
  int64_t first = 0; // the indices i and j
  int64_t second = 0;
  double first_condition = 0;
  double second_condition = 0;

  /// Includes S_ij, which has the error `noise` (math/pairs/near_defective.h). Only pairs with a large condition number
  /// count.
  template <typename real_t>
  void include(
      const EigenvaluePair<real_t>& pair,
      int64_t i,
      int64_t j,
      c10::complex<real_t> S,
      c10::complex<real_t> D,
      real_t noise) {
    const auto is_large = [](real_t condition) {
      return condition * static_cast<real_t>(tolerances::parallel) > 1;
    };
    const bool first_is_large = is_large(pair.first_condition);
    const bool second_is_large = is_large(pair.second_condition);
    if (i == j || !(first_is_large || second_is_large)) {
      return;
    }
    const bool is_near = first_is_large && second_is_large &&
        pair.gap <= static_cast<real_t>(tolerances::defective_reach) * pair.largest;
    const bool is_dropped = D == c10::complex<real_t>(0);
    if (is_near && is_dropped) {
      return;
    }
    // In double precision, because products may overflow in single precision.
    const auto condition = static_cast<double>(pair.first_condition);
    const auto gap = static_cast<double>(pair.gap);
    const auto least = std::min(static_cast<double>(std::abs(S)), static_cast<double>(noise));
    const auto amplified = condition * (std::abs(S) > noise || is_dropped ? least / gap : std::abs(D));
    if (amplified > error) {
      *this = {amplified, i, j, condition, static_cast<double>(pair.second_condition)};
    }
  }

  /// Returns what to report for matrix number `index` of the batch, whose gradient has this Frobenius norm.
  IllConditioned compared_with(double gradient_norm, c10::ScalarType dtype, int64_t index) const {
    if (!(error > tolerances::lost_digits(dtype) * gradient_norm)) {
      return {};
    }
    const auto relative = error < gradient_norm ? error / gradient_norm : 1.0;
    return {false, index, first, second, first_condition, second_condition, relative, 0, true};
  }
};

} // namespace spectralgrad::math
