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

/// What the loss does that has no gradient, or an inaccurate one.
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
  // The projector onto all eigenvectors has a gV that is round-off, in float32 too.
  const auto cancelled = static_cast<real_t>(tolerances::same_eigenvalue) * eps * std::min(matrix.largest, real_t(1));
  for (int64_t i = 0; matrix.has_S && i < n; ++i) {
    const auto size = std::abs(matrix.entry(i, i).imag());
    if (size > cancelled && is_significant(size, i, i)) {
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
      // With parallel eigenvectors, S_ij cancels for a Riesz projector onto the pair, but its round-off does not.
      const auto is_used = [&](int64_t k) {
        return significance.stands_out(matrix.magnitude(k, k));
      };
      const bool turned = matrix.has_S &&
          (is_significant(std::abs(matrix.entry(i, j)), i, j) || is_significant(std::abs(matrix.entry(j, i)), j, i) ||
           (parallel && (is_used(i) || is_used(j))));
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

} // namespace spectralgrad::math
