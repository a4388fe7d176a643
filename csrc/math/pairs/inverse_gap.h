#pragma once

#include <limits>

// The formula of gaps.h for one pair at a time, or for one in each lane of a register: plain, so that it can be compiled for every
// instruction set. `Arithmetic` says what its numbers are: types `Number` and `Value` (float, double), and functions `abs`,
// `larger` and `select(mask, yes, no)`.
namespace spectralgrad::math {

enum class GapForm {
  bare, // 1/x
  cutoff, // 1/x, and 0 up to the half-width
  lorentzian, // x/(x^2 + eta^2)
};

/// A rule as far as gaps are concerned. The half-width is absolute, in units of the eigenvalues, or else relative to the largest.
template <typename T>
struct GapRule {
  GapForm form;
  T relative_width;
  T absolute_width;
};

/// What the noise gate compares with: S_ij is an entry of the skew-Hermitian part of V^H gV, N_ij = (|V|^T |gV| + its transpose)_ij
/// what it was summed from, M the larger of the norms of gV's columns and max|lambda| max|g_lambda|. See gaps.h.
template <typename T>
struct NoiseGate {
  T noise; // outside clusters, entries up to this fraction of N are dropped
  T cluster_noise; // inside, entries up to this fraction of M
  T cluster_limit; // and those above this fraction of N
  T step; // consecutive eigenvalues of a cluster are this fraction of max|lambda| apart, or less
  T reach; // and any two of them this fraction
};

/// 1/4 where differences of eigenvalues may overflow, else 1. Eigenvalues are multiplied by it before they are subtracted.
template <typename Arithmetic>
__attribute__((always_inline)) inline typename Arithmetic::Number headroom(const typename Arithmetic::Number& largest) {
  using Number = typename Arithmetic::Number;
  using Value = typename Arithmetic::Value;
  const Number limit(std::numeric_limits<Value>::max() / 4);
  return Arithmetic::select(limit < largest, Number(Value(0.25)), Number(Value(1)));
}

/// F_ij from gaps x_ij = (lambda_j - lambda_i)/s, in units of 1/s.
template <typename Arithmetic>
struct InverseGap {
  using Number = typename Arithmetic::Number;
  using Value = typename Arithmetic::Value;

  Number scale; // s, max|lambda| or a larger half-width, so that nothing overflows
  Number half_width;
  GapForm form;
  /// Whether its square cannot underflow.
  bool is_wide;

  /// `largest` = max|lambda|. Eigenvalues come in units of 1/`unit`, as from `headroom`; an absolute width does not.
  __attribute__((always_inline)) InverseGap(
      const GapRule<Value>& rule,
      const Number& largest,
      const Number& unit,
      const Value& negligible)
      : form(rule.form) {
    const Number zero(Value(0));
    const auto width = Number(rule.absolute_width) * unit;
    const auto size = Arithmetic::larger(largest, width);
    scale = Arithmetic::select(size == zero, Number(Value(1)), size);
    half_width = rule.absolute_width > 0 ? width / scale : Number(rule.relative_width);
    is_wide = rule.absolute_width == 0 && rule.relative_width > negligible;
  }

  __attribute__((always_inline)) Number operator()(const Number& x) const {
    const Number zero(Value(0));
    const Number one(Value(1));
    if (form == GapForm::bare) {
      return one / x;
    }
    if (form == GapForm::cutoff) {
      return Arithmetic::select(Arithmetic::abs(x) <= half_width, zero, one / x);
    }
    if (is_wide) {
      return x / (x * x + half_width * half_width);
    }
    const auto larger = Arithmetic::larger(Arithmetic::abs(x), half_width);
    const auto none = larger == zero;
    const auto unit = Arithmetic::select(none, one, larger);
    return Arithmetic::select(none, zero, (x / unit) / (x * (x / unit) + half_width * (half_width / unit)));
  }
};

/// numerator/gap, and 0 where there is no gap; for tensors, too.
template <typename Number, typename Select>
__attribute__((always_inline)) inline Number quotient_or_zero(
    const Number& numerator,
    const Number& gap,
    const Number& zero,
    const Number& one,
    const Select& select) {
  const auto none = gap == zero;
  // Times 0, so that NaN stays.
  return select(none, numerator * zero, numerator / select(none, one, gap));
}

} // namespace spectralgrad::math
