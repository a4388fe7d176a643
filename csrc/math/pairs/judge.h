#pragma once

#include "core/tolerances.h"

#include <spectralgrad/checks.h>

#include <c10/core/ScalarType.h>
#include <c10/util/complex.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

// Whether a loss has a gradient through the eigenvectors of one matrix, judged from its cotangents; what the statistics are
// is said in math/pairs/judge_cotangents.h.
namespace spectralgrad::kernels {

/// The gravest first.
enum class Finding { phases, basis, lost_limit, not_differentiable, none };

struct Verdict {
  Finding finding = Finding::none;
  int64_t matrix = 0; // of the batch
  int64_t first = 0; // the two eigenvalues concerned
  int64_t second = 0;

  bool graver_than(const Verdict& other) const {
    return finding < other.finding || (finding == other.finding && matrix < other.matrix);
  }
};

/// Warns of a gradient that is lost or undefined; under `Checks::raise` raises.
void warn_or_raise(const std::string& message);

/// Raises or warns as `checks()` says.
void act_on(const Verdict& verdict);

/// Says that this backward pass has warned of a second derivative. What cotangents look like in the rest of it is no news:
/// they come from the derivative of a derivative, not from a loss, so only a dependence on phases is still told.
void note_second_order_warning();

template <typename T>
struct RealOf {
  using type = T;
};
template <typename T>
struct RealOf<c10::complex<T>> {
  using type = T;
};

/// How many real numbers make one of these.
template <typename scalar_t>
inline constexpr int64_t parts_of = std::is_same_v<scalar_t, typename RealOf<scalar_t>::type> ? 1 : 2;

template <typename T>
T conjugate(T x) {
  return x;
}
template <typename T>
c10::complex<T> conjugate(c10::complex<T> z) {
  return std::conj(z);
}

template <typename T>
T real_part(T x) {
  return x;
}
template <typename T>
T real_part(c10::complex<T> z) {
  return z.real();
}

template <typename T>
T imaginary_part(T) {
  return 0;
}
template <typename T>
T imaginary_part(c10::complex<T> z) {
  return z.imag();
}

/// The largest absolute value of `count` numbers; 0 where `x` is null.
template <typename T>
T largest_size(const T* x, int64_t count) {
  T result = 0;
  for (int64_t i = 0; x != nullptr && i < count; ++i) {
    result = std::max(result, std::abs(x[i]));
  }
  return result;
}

/// `W(i, j)` the entries of V^H gV, of which there are none unless `has_W`, `magnitude(i, j)` the N_ij that they were summed from;
/// `eigenvalues_cotangent` n or null; `scale()` is M; n >= 1. Calls few of either, where few are needed.
template <typename scalar_t, typename Entries, typename Magnitude, typename Scale>
Verdict judge(
    int64_t n,
    const typename RealOf<scalar_t>::type* eigenvalues,
    const typename RealOf<scalar_t>::type* eigenvalues_cotangent,
    bool has_W,
    const Entries& W,
    const Magnitude& magnitude,
    const Scale& scale) {
  using real_t = typename RealOf<scalar_t>::type;
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const auto tolerance = static_cast<real_t>(tolerances::gauge(dtype));
  // N_ij is no less than `known`, the sizes of the two entries together: most often that will do.
  const real_t largest = std::max(std::abs(eigenvalues[0]), std::abs(eigenvalues[n - 1]));
  // Columns that the loss does not see are round-off of the others, however large their entries are beside N. All of gV may be
  // round-off of A, too, as in the trace of V^H A V over the kernel of A.
  const auto cancelled = static_cast<real_t>(tolerances::cancelled_cotangent(dtype)) * largest;
  real_t floor = -1;
  const auto stands_out = [&](real_t size) {
    if (floor < 0) {
      floor = static_cast<real_t>(tolerances::finding_floor * tolerances::eps(dtype)) * scale();
    }
    return size > floor;
  };
  const auto exceeds = [&](real_t size, real_t factor, real_t known, int64_t i, int64_t j) {
    return size > factor * known && size > factor * magnitude(i, j) && stands_out(size);
  };
  if (has_W && !std::is_same_v<scalar_t, real_t>) {
    for (int64_t i = 0; i < n; ++i) {
      const auto diagonal = W(i, i);
      const auto size = std::abs(imaginary_part(diagonal));
      if (size > cancelled && exceeds(size, tolerance, 2 * std::abs(real_part(diagonal)), i, i)) {
        return {Finding::phases, 0, i, i};
      }
    }
  }
  // Against the largest: where a symmetric function is stationary, its derivatives are rounding, no two alike.
  const auto largest_cotangent = largest_size(eigenvalues_cotangent, n);
  const auto same = static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)) * largest;
  Verdict verdict;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n && eigenvalues[j] - eigenvalues[i] <= same; ++j) {
      const bool unequal = eigenvalues_cotangent != nullptr &&
          std::abs(eigenvalues_cotangent[i] - eigenvalues_cotangent[j]) > tolerance * largest_cotangent &&
          (largest == 0 || stands_out(std::abs(eigenvalues_cotangent[i] - eigenvalues_cotangent[j]) * largest));
      const auto upper = has_W ? W(i, j) : scalar_t(0);
      const auto lower = has_W ? conjugate(W(j, i)) : scalar_t(0);
      const auto known = std::abs(upper) + std::abs(lower);
      const auto skew = std::abs(upper - lower);
      if (has_W && skew > cancelled && exceeds(skew, 2 * tolerance, known, i, j)) {
        return {Finding::basis, 0, i, j};
      }
      if (unequal && verdict.finding > Finding::lost_limit) {
        const bool hermitian_part_matters = has_W && exceeds(std::abs(upper + lower), 2 * tolerance, known, i, j);
        const Verdict found{hermitian_part_matters ? Finding::lost_limit : Finding::not_differentiable, 0, i, j};
        if (found.finding < verdict.finding) {
          verdict = found;
        }
      }
    }
  }
  return verdict;
}

} // namespace spectralgrad::kernels
