#pragma once

// The formula of gaps.h for one pair at a time, or for one in each lane of a register: plain, so that it can be compiled for every
// instruction set. `Arithmetic` says what its numbers are: types `Number` and `Value` (float, double), and functions `abs`,
// `larger` and `select(mask, yes, no)`.
namespace spectralgrad::derivatives {

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

  __attribute__((always_inline)) InverseGap(const GapRule<Value>& rule, const Number& largest, const Value& negligible)
      : form(rule.form) {
    const Number zero(Value(0));
    const auto unit = Arithmetic::larger(largest, Number(rule.absolute_width));
    scale = Arithmetic::select(unit == zero, Number(Value(1)), unit);
    half_width = rule.absolute_width > 0 ? Number(rule.absolute_width) / scale : Number(rule.relative_width);
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

} // namespace spectralgrad::derivatives
