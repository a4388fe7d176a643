#pragma once

#include "core/arithmetic.h"

#include <limits>

// Functions with a closed form: their values and first divided differences f[a,b], a <= b. They are written once, for
// tensors and for SIMD lanes, and are free of LibTorch, so that they can be compiled for every instruction set. `A` is an
// arithmetic (core/arithmetic.h) that also has the functions number(double), negate, sqrt, exp, expm1, log, log1p,
// power(x, double) and smaller(x, y).
//
// Relative errors are a few eps at every gap, because nearly equal numbers are never subtracted. Intermediate results
// overflow only if the result does. Higham (2008), "Functions of Matrices", section 3.2; McCurdy, Ng and Parlett (1984)
// for the exponential.
namespace spectralgrad::math {

enum class Form {
  given, // no closed form: the values and differences are given
  exp,
  log,
  sqrt,
  invsqrt,
  power,
  fermi, // 1/(1 + e^x)
  pinv, // 1/x, and 0 at 0
};

/// The exponent of a power.
struct Exponent {
  double value = 0;
  bool is_integer = true;
  bool is_odd = false;
};

#define SPECTRALGRAD_FORMULA SPECTRALGRAD_INLINE

/// (1 - e^-d)/d for d >= 0.
template <typename A>
SPECTRALGRAD_FORMULA typename A::Number decay(const typename A::Number& d) {
  const auto none = d == A::number(0);
  return A::select(none, A::number(1), A::negate(A::expm1(A::negate(d))) / A::select(none, A::number(1), d));
}

/// log(b/a) for 0 <= a <= b, to relative precision where b is close to a.
template <typename A>
SPECTRALGRAD_FORMULA typename A::Number log_ratio(const typename A::Number& a, const typename A::Number& b) {
  const auto ratio = b / a;
  const auto infinite = ratio == A::number(std::numeric_limits<double>::infinity());
  auto far = A::log(ratio);
  if (A::any(infinite)) {
    far = A::select(infinite, A::log(b) - A::log(a), far);
  }
  return A::select(b <= A::number(2) * a, A::log1p((b - a) / a), far);
}

// Each form has
//     Number value(x)            f(x)
//     Number of_one(x)           what f[a,b] takes from a and b, each by itself
//     Number first(a, b, of_one(a), of_one(b))

template <typename A>
struct Exponential {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::exp(x);
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return A::exp(x);
  }
  SPECTRALGRAD_FORMULA Number first(const Number& a, const Number& b, const Number&, const Number& exp_b) const {
    return exp_b * decay<A>(b - a);
  }
};

template <typename A>
struct Logarithm {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::log(x);
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return A::number(1) / x;
  }
  SPECTRALGRAD_FORMULA Number first(const Number& a, const Number& b, const Number& slope, const Number&) const {
    return A::select(a == b, slope, quotient_or_zero<A>(log_ratio<A>(a, b), b - a));
  }
};

/// Negative arguments count as 0. f[0, 0] is infinite.
template <typename A>
struct SquareRoot {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::sqrt(A::larger(x, A::number(0)));
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return A::sqrt(x);
  }
  SPECTRALGRAD_FORMULA Number first(const Number&, const Number&, const Number& p, const Number& q) const {
    return A::number(1) / (p + q);
  }
};

template <typename A>
struct InverseSquareRoot {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::number(1) / A::sqrt(x);
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return A::sqrt(x);
  }
  SPECTRALGRAD_FORMULA Number first(const Number&, const Number&, const Number& p, const Number& q) const {
    return A::number(-1) / p / q / (p + q);
  }
};

/// x^p. If p is not an integer, negative x, which are round-off, count as 0.
template <typename A>
struct Power {
  using Number = typename A::Number;

  Exponent p;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::power(p.is_integer ? x : A::larger(x, A::number(0)), p.value);
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return x;
  }
  SPECTRALGRAD_FORMULA Number first(const Number& a, const Number& b, const Number&, const Number&) const {
    if (p.value == 0) {
      return a * A::number(0);
    }
    if (!p.is_integer) {
      return first_of_positive(a, b);
    }
    // x^p is odd or even, so f[a,b] follows from f[|a|,|b|]. If a and b have different signs, b - a has no
    // cancellation.
    const auto same_sign = first_of_positive(A::smaller(A::abs(a), A::abs(b)), A::larger(A::abs(a), A::abs(b)));
    const auto positive = a > A::number(0);
    const auto half = A::number(0.5); // neither difference overflows
    const auto across = quotient_or_zero<A>(
        A::power(b, p.value) * half - A::power(a, p.value) * half,
        b * half - a * half);
    const auto derivative = A::power(a, p.value - 1) * A::number(p.value);
    return A::select(
        positive,
        same_sign,
        A::select(
            b < A::number(0),
            p.is_odd ? same_sign : A::negate(same_sign),
            A::select(a == b, derivative, across)));
  }

 private:
  /// f[a,b] for 0 < a <= b, and for a = 0 if it is finite there.
  SPECTRALGRAD_FORMULA Number first_of_positive(const Number& a, const Number& b) const {
    const auto equal = a == b;
    const auto logarithm = A::select(equal, A::number(1), log_ratio<A>(a, b));
    // The larger of a^p and b^p is a factor; the other factor is between 0 and |p|.
    const auto& outer = p.value > 0 ? b : a;
    const double sign = p.value > 0 ? -1 : 1;
    const auto ratio = A::expm1(logarithm * A::number(sign * p.value)) / A::expm1(logarithm * A::number(sign));
    return A::power(outer, p.value - 1) * A::select(equal, A::number(p.value), ratio);
  }
};

template <typename A>
struct Fermi {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    return A::number(1) / (A::number(1) + A::exp(x));
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return A::number(1) + A::exp(A::negate(A::abs(x)));
  }
  /// The addition theorem of tanh, with exponents that are never positive.
  SPECTRALGRAD_FORMULA Number first(const Number& a, const Number& b, const Number& of_a, const Number& of_b) const {
    // Equals (b - a - |a| - |b|)/2, and does not overflow.
    const auto exponent = A::smaller(b, A::number(0)) - A::larger(a, A::number(0));
    return A::negate(A::exp(exponent) * decay<A>(b - a)) / of_a / of_b;
  }
};

/// The function that is 1/x away from 0, and 0 in a neighbourhood of 0. Its derivatives are those of the pseudo-inverse
/// at constant rank (Golub and Pereyra, 1973).
template <typename A>
struct PseudoInverse {
  using Number = typename A::Number;

  SPECTRALGRAD_FORMULA Number value(const Number& x) const {
    const auto none = x == A::number(0);
    return A::select(none, A::number(0), A::number(1) / A::select(none, A::number(1), x));
  }
  SPECTRALGRAD_FORMULA Number of_one(const Number& x) const {
    return value(x);
  }
  /// With r(x) = 1/x and r(0) = 0: f[a,b] = -r(a) r(b), f[0,b] = r(b)^2.
  SPECTRALGRAD_FORMULA Number first(const Number& a, const Number& b, const Number& of_a, const Number& of_b) const {
    const auto zero = A::number(0);
    const auto between = A::negate(of_a) * of_b;
    return A::select(a == zero, of_b * of_b, A::select(b == zero, of_a * of_a, between));
  }
};

/// Calls `f` with the form, unless it is `given`.
template <typename A, typename F>
SPECTRALGRAD_FORMULA void with_form(Form form, const Exponent& exponent, const F& f) {
  switch (form) {
    case Form::given:
      return;
    case Form::exp:
      return f(Exponential<A>{});
    case Form::log:
      return f(Logarithm<A>{});
    case Form::sqrt:
      return f(SquareRoot<A>{});
    case Form::invsqrt:
      return f(InverseSquareRoot<A>{});
    case Form::power:
      return f(Power<A>{exponent});
    case Form::fermi:
      return f(Fermi<A>{});
    case Form::pinv:
      return f(PseudoInverse<A>{});
  }
}

#undef SPECTRALGRAD_FORMULA

} // namespace spectralgrad::math
