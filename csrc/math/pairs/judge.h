#pragma once

#include "core/scalar_traits.h"
#include "core/tolerances.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

// Decides from the cotangents of one matrix whether the loss has a gradient through its eigenvectors, or its singular
// vectors. math/pairs/judge_cotangents.h and math/pairs/judge_singular_vectors.h explain the statistics.
namespace spectralgrad::math {

/// In order of severity, the most severe first. At a singular value 0 a loss may have both `null_spaces` and `basis`:
/// the message of `basis` says that U V^H is well defined, which is wrong there. `cut` is any of the three that follow
/// it, for a kept and a dropped value.
enum class Finding { phases, null_spaces, cut, basis, lost_limit, not_differentiable, none };

struct Verdict {
  Finding finding = Finding::none;
  int64_t matrix = 0; // index in the batch
  int64_t first = 0; // indices of the two eigenvalues, or singular values, concerned
  int64_t second = 0;

  bool is_more_severe_than(const Verdict& other) const {
    return finding < other.finding || (finding == other.finding && matrix < other.matrix);
  }
};

/// Whether entries of a cotangent are more than round-off. `magnitude(i, j)` returns N_ij and `scale()` M
/// (math/pairs/pairs.h); both are expensive and called only if needed.
template <typename real_t, typename Magnitude, typename Scale>
class Significance {
 public:
  /// `largest` is the largest absolute eigenvalue.
  Significance(real_t largest, const Magnitude& magnitude, const Scale& scale)
      : magnitude_(magnitude),
        scale_(scale),
        // All of gV may be round-off of A, as for the trace of V^H A V over the kernel of A.
        cancelled_(static_cast<real_t>(tolerances::cancelled_cotangent(dtype)) * largest) {}

  /// Whether an entry of this size exceeds `factor` N_ij, and stands out. `known` is a lower bound of N_ij, the
  /// absolute values of both entries together, and usually decides.
  bool exceeds(real_t size, real_t factor, real_t known, int64_t i, int64_t j) const {
    return size > factor * known && size > factor * magnitude_(i, j) && stands_out(size);
  }

  /// Whether the loss depends on the basis of a pair: whether the skew-Hermitian part of W_ij and W_ji, given as
  /// `upper` = W_ij and `lower` = conj(W_ji), is significant.
  template <typename scalar_t>
  bool depends_on_basis(scalar_t upper, scalar_t lower, real_t tolerance, int64_t i, int64_t j) const {
    const auto skew = std::abs(upper - lower);
    return !may_be_of_matrix(skew) && exceeds(skew, 2 * tolerance, std::abs(upper) + std::abs(lower), i, j);
  }

  bool may_be_of_matrix(real_t size) const {
    return !(size > cancelled_);
  }

  /// Columns of gV that should be zero are round-off of the other columns. It may be large compared to N, but not to M.
  bool stands_out(real_t size) const {
    if (floor_ < 0) {
      floor_ = static_cast<real_t>(tolerances::finding_floor * tolerances::eps(dtype)) * scale_();
    }
    return size > floor_;
  }

 private:
  static constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const Magnitude& magnitude_;
  const Scale& scale_;
  real_t cancelled_;
  mutable real_t floor_ = -1;
};

/// Returns the most severe finding for one n x n matrix, n >= 1. `W(i, j)` returns an entry of V^H gV and is called
/// only if `has_W`. `magnitude` and `scale` are those of `Significance`. `eigenvalues_cotangent` is (n) or null. For
/// `amplification`, see math/pairs/amplification.h.
template <typename scalar_t, typename Entries, typename Magnitude, typename Scale>
Verdict judge(
    int64_t n,
    const typename RealOf<scalar_t>::type* eigenvalues,
    const typename RealOf<scalar_t>::type* eigenvalues_cotangent,
    bool has_W,
    const Entries& W,
    const Magnitude& magnitude,
    const Scale& scale,
    typename RealOf<scalar_t>::type amplification = 1) {
  using real_t = typename RealOf<scalar_t>::type;
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const auto gauge = static_cast<real_t>(tolerances::gauge(dtype));
  const real_t largest = std::max(std::abs(eigenvalues[0]), std::abs(eigenvalues[n - 1]));
  const Significance<real_t, Magnitude, Scale> significance(largest, magnitude, scale);
  if (has_W && !std::is_same_v<scalar_t, real_t>) {
    for (int64_t i = 0; i < n; ++i) {
      const auto diagonal = W(i, i);
      const auto size = std::abs(imaginary_part(diagonal));
      if (!significance.may_be_of_matrix(size) &&
          significance.exceeds(size, gauge, 2 * std::abs(real_part(diagonal)), i, i)) {
        return {Finding::phases, 0, i, i};
      }
    }
  }
  // Relative to the largest: at a stationary point of a symmetric function, its derivatives are round-off and all
  // different.
  const auto largest_cotangent = largest_size(eigenvalues_cotangent, n);
  const auto tolerance = gauge * amplification;
  const auto same = static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)) * amplification * largest;
  Verdict verdict;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n && eigenvalues[j] - eigenvalues[i] <= same; ++j) {
      const bool unequal = eigenvalues_cotangent != nullptr &&
          std::abs(eigenvalues_cotangent[i] - eigenvalues_cotangent[j]) > tolerance * largest_cotangent &&
          (largest == 0 ||
           significance.stands_out(std::abs(eigenvalues_cotangent[i] - eigenvalues_cotangent[j]) * largest));
      const auto upper = has_W ? W(i, j) : scalar_t(0);
      const auto lower = has_W ? conjugate(W(j, i)) : scalar_t(0);
      if (has_W && significance.depends_on_basis(upper, lower, tolerance, i, j)) {
        return {Finding::basis, 0, i, j};
      }
      if (unequal && verdict.finding > Finding::lost_limit) {
        const auto known = std::abs(upper) + std::abs(lower);
        const bool hermitian_part_matters = has_W &&
            significance.exceeds(std::abs(upper + lower), 2 * tolerance, known, i, j);
        const Verdict found{hermitian_part_matters ? Finding::lost_limit : Finding::not_differentiable, 0, i, j};
        if (found.finding < verdict.finding) {
          verdict = found;
        }
      }
    }
  }
  return verdict;
}

/// Returns the finding `null_spaces`, or none, for k descending singular values. `W(i, j)` returns an entry of
/// U^H gU - V^H gV, and `outer(i)` the largest significant entry of column i of gU and gV outside the ranges of U and
/// V. `magnitude` and `scale` are those of `Significance`.
template <typename scalar_t, typename Entries, typename Outer, typename Magnitude, typename Scale>
Verdict judge_null_spaces(
    int64_t k,
    const typename RealOf<scalar_t>::type* singular_values,
    const Entries& W,
    const Outer& outer,
    const Magnitude& magnitude,
    const Scale& scale) {
  using real_t = typename RealOf<scalar_t>::type;
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const auto tolerance = static_cast<real_t>(tolerances::gauge(dtype));
  const auto same = static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)) * singular_values[0];
  const Significance<real_t, Magnitude, Scale> significance(singular_values[0], magnitude, scale);
  for (int64_t i = k - 1; i >= 0 && singular_values[i] <= same; --i) {
    if (!significance.may_be_of_matrix(outer(i)) && significance.stands_out(outer(i))) {
      return {Finding::null_spaces, 0, i, i};
    }
    for (int64_t j = i; j < k; ++j) {
      if (singular_values[i] + singular_values[j] <= same &&
          significance.depends_on_basis(W(i, j), conjugate(W(j, i)), tolerance, i, j)) {
        return {Finding::null_spaces, 0, i, j};
      }
    }
  }
  return {};
}

} // namespace spectralgrad::math
