#include "math/divided_differences.h"

#include "core/tolerances.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/smearing.h"

#include <ATen/ScalarOps.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using Parameters = std::vector<double>;

// --- functions with a closed form; a <= b <= c -----------------------------------------------------------------------

constexpr int64_t closed_form_jet_order = 6;

namespace exponential {
Tensor jets(const Tensor& x, const Parameters&) {
  return at::stack(std::vector<Tensor>(closed_form_jet_order + 1, x.exp()), -2);
}
} // namespace exponential

namespace logarithm {
Tensor jets(const Tensor& x, const Parameters&) {
  std::vector<Tensor> rows{x.log(), x.reciprocal()};
  for (int64_t k = 2; k <= closed_form_jet_order; ++k) {
    rows.push_back(rows.back() * rows[1] * -static_cast<double>(k - 1));
  }
  return at::stack(rows, -2);
}
} // namespace logarithm

namespace square_root {
Tensor second(const Tensor& a, const Tensor& b, const Tensor& c) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto regular = -(p + q).reciprocal() / (q + r) / (p + r);
  const auto at_zero = at::where(r == 0, at::zeros_like(r), r.pow(-3));
  return at::where(q == 0, at_zero, regular);
}
} // namespace square_root

namespace inverse_square_root {
Tensor second(const Tensor& a, const Tensor& b, const Tensor& c) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  return (p + q + r) / (p + q) / (q + r) / (p + r) / p / q / r;
}
} // namespace inverse_square_root

namespace power {
Tensor jets(const Tensor& x, const Parameters& parameters) {
  std::vector<Tensor> rows;
  double coefficient = 1;
  for (int64_t k = 0; k <= closed_form_jet_order; ++k) {
    const auto exponent = parameters[0] - static_cast<double>(k);
    rows.push_back(coefficient == 0 ? at::zeros_like(x) : x.pow(exponent) * coefficient);
    coefficient *= exponent;
  }
  return at::stack(rows, -2);
}
} // namespace power

namespace fermi {
/// With f' = -u and v = 1 - 2f: u' = -u v, v' = 2u.
Tensor jets(const Tensor& x, const Parameters&) {
  const auto f = at::sigmoid(-x);
  const auto rest = at::sigmoid(x);
  const auto u = f * rest;
  const auto v = rest - f;
  const auto vv = v * v;
  return at::stack(
      {f,
       -u,
       u * v,
       u * (2 * u - vv),
       u * v * (vv - 8 * u),
       u * (vv * (22 * u - vv) - 16 * u * u),
       u * v * (vv * (vv - 52 * u) + 136 * u * u)},
      -2);
}
} // namespace fermi

namespace pseudo_inverse {
/// With r(x) = 1/x and r(0) = 0: f[a,b,c] = r_a r_b r_c; f[0,b,c] = -r_b r_c (r_b + r_c); f[0,0,c] = r_c^3.
Tensor second(const Tensor& a, const Tensor& b, const Tensor& c) {
  const auto inverse = [](const Tensor& x) {
    const auto zero = x == 0;
    return at::where(zero, at::zeros_like(x), at::where(zero, at::ones_like(x), x).reciprocal());
  };
  const auto p = inverse(a);
  const auto q = inverse(b);
  const auto r = inverse(c);
  const auto one_is_zero = [](const Tensor& x, const Tensor& y) {
    return -x * y * (x + y);
  };
  const auto a_is_zero = at::where(b == 0, r.pow(3), at::where(c == 0, q.pow(3), one_is_zero(q, r)));
  const auto b_is_zero = at::where(c == 0, p.pow(3), one_is_zero(p, r));
  return at::where(a == 0, a_is_zero, at::where(b == 0, b_is_zero, at::where(c == 0, one_is_zero(p, q), p * q * r)));
}
} // namespace pseudo_inverse

namespace smeared {
template <Smearing smearing>
Tensor jets(const Tensor& x, const Parameters&) {
  return smeared_jets(smearing, x, closed_form_jet_order);
}
} // namespace smeared

struct ClosedForm {
  const char* name;
  Form form;
  // Second differences: the closed form is one of these two functions.
  Tensor (*second)(const Tensor&, const Tensor&, const Tensor&);
  Tensor (*jets)(const Tensor&, const Parameters&);
};

constexpr std::array closed_forms{
    ClosedForm{"exp", Form::exp, nullptr, exponential::jets},
    ClosedForm{"log", Form::log, nullptr, logarithm::jets},
    ClosedForm{"sqrt", Form::sqrt, square_root::second, nullptr},
    ClosedForm{"invsqrt", Form::invsqrt, inverse_square_root::second, nullptr},
    ClosedForm{"power", Form::power, nullptr, power::jets},
    ClosedForm{"fermi", Form::fermi, nullptr, fermi::jets},
    ClosedForm{"pinv", Form::pinv, pseudo_inverse::second, nullptr},
    ClosedForm{"gaussian", Form::given, nullptr, smeared::jets<Smearing::gaussian>},
    ClosedForm{"methfessel-paxton", Form::given, nullptr, smeared::jets<Smearing::methfessel_paxton>},
    ClosedForm{"cold", Form::given, nullptr, smeared::jets<Smearing::cold>},
};

/// Null for "jets", "powers" and "steps".
const ClosedForm* closed_form(const ScalarFunction& f) {
  for (const auto& form : closed_forms) {
    if (f.name == form.name) {
      return &form;
    }
  }
  TORCH_CHECK_VALUE(
      f.name == "jets" || f.name == "powers" || f.name == "steps",
      "spectralgrad: Expected the name of a function (exp, log, sqrt, invsqrt, power, fermi, gaussian, "
      "methfessel-paxton, cold, pinv, jets, powers, steps), but got ",
      f.name);
  TORCH_CHECK(f.jets.defined(), "spectralgrad: Expected jets for the function ", f.name);
  return nullptr;
}

/// The jets of "powers" for differences. The value at an eigenvalue that counts as 0 may be that of its round-off. Here
/// it is set to 0, so that f[0,b] = b^(p-1). This is not needed for exponents p >= 1, nor for p = 0, which has a finite
/// derivative.
Tensor powers_for_differences(const Tensor& eigenvalues, const Tensor& jets) {
  if (jets.size(-2) < 2) {
    return jets;
  }
  const auto is_root_of_zero = (eigenvalues == 0).logical_and(jets.select(-2, 1).isinf());
  auto result = jets.clone();
  result.select(-2, 0).masked_fill_(is_root_of_zero, 0);
  return result;
}

/// Returns `jets` at the eigenvalues `x` with 0 for derivatives that are infinite at 0. These are the jets of the
/// function that is constant around 0.
Tensor without_infinite_derivatives(const Tensor& x, const Tensor& jets) {
  return jets.masked_fill(jets.isinf().logical_and((x == 0).unsqueeze(-2)), 0);
}

/// If f or one of its derivatives is singular at 0, sets eigenvalues to 0 that are 0 up to round-off.
Tensor without_noise_at_zero(const ScalarFunction& f, const Tensor& eigenvalues) {
  return is_singular_at_zero(f) && eigenvalues.numel() > 0
      ? at::where(singular_eigenvalues(f, eigenvalues), at::zeros_like(eigenvalues), eigenvalues)
      : eigenvalues;
}

/// Returns the differences (*, n, n), with 0 between two singular eigenvalues if f' is infinite there.
Tensor constant_at_zero(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& differences) {
  if (finite_derivatives_at_zero(f) > 0) {
    return differences;
  }
  const auto singular = singular_eigenvalues(f, eigenvalues);
  return singular.defined() ? differences.masked_fill(singular.unsqueeze(-1).logical_and(singular.unsqueeze(-2)), 0)
                            : differences;
}

// --- functions known by their derivatives at the eigenvalues ---------------------------------------------------------

/// The coefficients c_k of f(b) - f(a) = sum_{k=1}^K c_k (b - a)^k [f^(k)(a) - (-1)^k f^(k)(b)] + O((b - a)^(2K+1))
/// (Obreschkoff, 1940).
std::vector<double> two_point_coefficients(int64_t order) {
  std::vector<double> coefficients{0};
  double c = 1;
  for (int64_t k = 1; k <= order; ++k) {
    c *= static_cast<double>(order - k + 1) / static_cast<double>((2 * order - k + 1) * k);
    coefficients.push_back(c);
  }
  return coefficients;
}

/// Whether an expansion with an error of about `error` is better than the quotient of a difference of terms that large.
/// It must also agree with the quotient up to the quotient's round-off, because given derivatives may be wrong, or may
/// be zeros from some order on.
Tensor expansion_is_better(
    const Tensor& gap,
    const Tensor& quotient,
    const Tensor& terms,
    const Tensor& expansion,
    const Tensor& error) {
  const auto rounding = terms * tolerances::eps(terms.scalar_type());
  const auto agree = (expansion - quotient).abs() * gap <= tolerances::agreement * rounding;
  return agree.logical_and(error * gap <= rounding);
}

/// f[a,b] of all pairs from jets, and which of the two formulas each pair uses.
struct PairDifferences {
  Tensor gap; // d_ij = lambda_j - lambda_i
  Tensor expanded; // bool: whether the pair uses the expansion and not the quotient
  Tensor value;

  PairDifferences(const Tensor& eigenvalues, const Tensor& jets) {
    const auto order = jets.size(-2) - 1;
    gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1);
    const auto f = jets.select(-2, 0);
    // The error of f is eps*|f|, and eps*|x f'|: a value that vanishes by cancellation, such as x^2 - 1 at 1, has an
    // error above eps*|f|.
    const auto size_of_terms = order == 0 ? f.abs() : f.abs() + (eigenvalues * jets.select(-2, 1)).abs();
    const auto sizes = size_of_terms.unsqueeze(-2) + size_of_terms.unsqueeze(-1);
    const auto by_quotient = quotient(f.unsqueeze(-2) - f.unsqueeze(-1), gap);
    if (order == 0) {
      expanded = gap == 0;
      value = at::where(expanded, at::zeros_like(gap), by_quotient);
      return;
    }
    const auto by_expansion = expansion(jets, order);
    // Estimates the error of this order from that of the order below: the error of order K is (gap/radius)^(2K).
    const auto slope = jets.select(-2, 1).abs();
    const auto size = at::maximum(slope.unsqueeze(-2), slope.unsqueeze(-1));
    const auto step = order == 1 ? (slope.unsqueeze(-2) - slope.unsqueeze(-1)).abs()
                                 : (by_expansion - expansion(jets, order - 1)).abs();
    const auto power = order == 1 ? 1.0 : static_cast<double>(order) / static_cast<double>(order - 1);
    const auto error = at::where(size > 0, size * (step / size).pow(power), step);
    const auto equal = gap == 0;
    expanded = equal.logical_or(expansion_is_better(gap.abs(), by_quotient, sizes, by_expansion, error));
    // Avoids 0 times a derivative of higher order, which may be infinite.
    value = at::where(equal, jets.select(-2, 1).unsqueeze(-1), at::where(expanded, by_expansion, by_quotient));
  }

  Tensor expansion(const Tensor& jets, int64_t order) const {
    const auto c = two_point_coefficients(order);
    auto sum = at::zeros_like(gap);
    for (int64_t k = order; k >= 1; --k) {
      const auto y = jets.select(-2, k);
      const auto ends = k % 2 == 1 ? y.unsqueeze(-1) + y.unsqueeze(-2) : y.unsqueeze(-1) - y.unsqueeze(-2);
      sum = sum * gap + ends * c[k];
    }
    return sum;
  }
};

/// The triples (i, j, k), each in ascending order, which is the order of the eigenvalues: positions (n, n, count).
struct Triples {
  Tensor low;
  Tensor middle;
  Tensor high;

  Triples(int64_t n, int64_t start, int64_t count, const at::Device& device) {
    const auto options = at::TensorOptions(device).dtype(at::kLong);
    const auto all = at::arange(n, options);
    const auto i = all.view({n, 1, 1}).expand({n, n, count});
    const auto j = all.view({1, n, 1}).expand({n, n, count});
    const auto k = at::arange(start, start + count, options).view({1, 1, count}).expand({n, n, count});
    low = at::minimum(at::minimum(i, j), k);
    high = at::maximum(at::maximum(i, j), k);
    middle = i + j + k - low - high;
  }
};

/// f[a,b,c] from accurate first differences and jets.
Tensor triple_differences(const Tensor& eigenvalues, const Tensor& first, const Tensor& jets, const Triples& triples) {
  const auto n = eigenvalues.size(-1);
  const auto pairs = first.flatten(-2);
  const auto upper = at_positions(pairs, triples.middle * n + triples.high);
  const auto lower = at_positions(pairs, triples.low * n + triples.middle);
  const auto a = at_positions(eigenvalues, triples.low);
  const auto b = at_positions(eigenvalues, triples.middle);
  const auto c = at_positions(eigenvalues, triples.high);
  const auto width = c - a;
  const auto by_quotient = quotient(upper - lower, width);
  const auto order = jets.size(-2) - 1;
  // An expansion around the middle one: sum_k f^(k)(b)/k! h_{k-2}(a - b, c - b), h the complete homogeneous symmetric
  // polynomials.
  const auto left = a - b;
  const auto right = c - b;
  auto polynomial = at::ones_like(left);
  auto right_power = at::ones_like(left);
  auto sum = at::zeros_like(left);
  auto last = at::zeros_like(left);
  auto last_but_one = last;
  double factorial = 1;
  for (int64_t k = 2; k <= order; ++k) {
    factorial *= static_cast<double>(k);
    last_but_one = last;
    last = at_positions(jets.select(-2, k), triples.middle) * polynomial / factorial;
    sum = sum + last;
    right_power = right_power * right;
    polynomial = left * polynomial + right_power;
  }
  const auto equal = width == 0;
  if (order < 2) {
    return at::where(equal, at::zeros_like(sum), by_quotient);
  }
  // Estimates the first omitted term by a geometric progression.
  auto error = at::where(last_but_one == 0, last, last * (last / last_but_one)).abs();
  if (order == 2) {
    // If only f'' is known: its mean over the three, with an error of the square of the width.
    const auto f2 = jets.select(-2, 2);
    const auto ends = at_positions(f2, triples.low) + at_positions(f2, triples.high);
    const auto spread = at_positions(f2, triples.high) - at_positions(f2, triples.low);
    sum = (sum * 2 + ends) / 6;
    error = at::where(sum == 0, spread, spread * (spread / sum) / 8).abs();
  }
  const auto curvature = at_positions(jets.select(-2, 2), triples.middle) / 2;
  // The error of f' is eps*|f'|, and eps*|x f''|, which is larger in the tails of a Gaussian.
  const auto slope_of_terms = (eigenvalues * jets.select(-2, 2)).abs();
  const auto terms = upper.abs() + lower.abs() + at_positions(slope_of_terms, triples.low) +
      at_positions(slope_of_terms, triples.high);
  const auto expanded = expansion_is_better(width, by_quotient, terms, sum, error);
  return at::where(equal, curvature, at::where(expanded, sum, by_quotient));
}

/// Second differences of a function that is constant around each eigenvalue. They are zero between equal values.
/// Eigenvalues with different values are never close.
Tensor step_triples(const Tensor& eigenvalues, const Tensor& first, const Tensor& steps, const Triples& triples) {
  const auto n = eigenvalues.size(-1);
  const auto pairs = first.flatten(-2);
  const auto pair = [&](const Tensor& i, const Tensor& j) {
    return at_positions(pairs, i * n + j);
  };
  const auto distance = [&](const Tensor& i, const Tensor& j) {
    return at_positions(eigenvalues, i) - at_positions(eigenvalues, j);
  };
  const auto low = at_positions(steps, triples.low);
  const auto middle = at_positions(steps, triples.middle);
  const auto high = at_positions(steps, triples.high);
  // If two values are equal and one is odd, the result is f[odd,one]/(odd - other).
  const auto odd = [&](const Tensor& i, const Tensor& one, const Tensor& other) {
    return quotient(pair(i, one), distance(i, other));
  };
  const auto none = at::zeros_like(low);
  const auto all_differ = quotient(
      pair(triples.middle, triples.high) - pair(triples.low, triples.middle),
      distance(triples.high, triples.low));
  return at::where(
      low == middle,
      at::where(middle == high, none, odd(triples.high, triples.middle, triples.low)),
      at::where(
          middle == high,
          odd(triples.low, triples.middle, triples.high),
          at::where(low == high, odd(triples.middle, triples.low, triples.high), all_differ)));
}

} // namespace

Form form_of(const ScalarFunction& f) {
  const auto* form = closed_form(f);
  return form != nullptr ? form->form : Form::given;
}

Exponent exponent_of(const ScalarFunction& f) {
  if (f.name != "power") {
    return {};
  }
  const auto p = f.parameters[0];
  return {p, p == std::floor(p), std::fmod(p, 2) != 0};
}

namespace {

/// The index of the kind of the last direction among a function's parameters.
size_t place_of_direction_kind(std::string_view name) {
  return name == "power" ? 1 : 0;
}

} // namespace

DirectionKind direction_kind(const ScalarFunction& f) {
  const auto place = place_of_direction_kind(f.name);
  return f.parameters.size() > place ? static_cast<DirectionKind>(f.parameters[place]) : DirectionKind::cotangent;
}

std::vector<double> with_direction_kind(std::string_view name, std::vector<double> parameters, DirectionKind kind) {
  const auto place = place_of_direction_kind(name);
  parameters.resize(place);
  if (kind != DirectionKind::cotangent) {
    parameters.push_back(static_cast<double>(kind));
  }
  return parameters;
}

bool is_singular_at_zero(const ScalarFunction& f) {
  const auto p = exponent_of(f);
  return f.name == "sqrt" || (p.value > 0 && !p.is_integer);
}

int64_t finite_derivatives_at_zero(const ScalarFunction& f) {
  return static_cast<int64_t>(std::clamp(exponent_of(f).value, 0.0, 9.0));
}

Tensor singular_eigenvalues(const ScalarFunction& f, const Tensor& eigenvalues) {
  if ((f.name == "jets" || f.name == "powers") && f.jets.size(-2) > 1) {
    return at::isinf(f.jets.select(-2, 1)).logical_and(eigenvalues == 0);
  }
  if (!is_singular_at_zero(f)) {
    return {};
  }
  return eigenvalues <= zero_threshold(eigenvalues);
}

Tensor zero_threshold(const Tensor& eigenvalues) {
  return tolerances::zero_eigenvalue(eigenvalues.scalar_type(), eigenvalues.size(-1)) *
      eigenvalues.abs().amax({-1}, /*keepdim=*/true);
}

Tensor at_positions(const Tensor& x, const Tensor& positions) {
  auto shape = x.sizes().slice(0, x.dim() - 1).vec();
  shape.insert(shape.end(), positions.sizes().begin(), positions.sizes().end());
  return x.index_select(-1, positions.flatten()).reshape(shape);
}

Tensor values(const ScalarFunction& f, const Tensor& eigenvalues) {
  const auto form = form_of(f);
  if (form == Form::given) {
    const auto smearing = smearing_of(f.name);
    return smearing ? smeared_values(*smearing, eigenvalues) : f.jets.select(-2, 0);
  }
  Tensor result;
  const auto x = without_noise_at_zero(f, eigenvalues);
  with_form<TensorArithmetic>(form, exponent_of(f), [&](const auto& formula) { result = formula.value(x); });
  return result;
}

Tensor first_differences(const ScalarFunction& f, const Tensor& eigenvalues) {
  const auto form = form_of(f);
  const auto smearing = smearing_of(f.name);
  if (form != Form::given || smearing) {
    const auto x = without_noise_at_zero(f, eigenvalues);
    // Eigenvalues ascend, so the first one of a pair is the smaller one.
    const auto a = at::minimum(x.unsqueeze(-1), x.unsqueeze(-2));
    const auto b = at::maximum(x.unsqueeze(-1), x.unsqueeze(-2));
    if (form == Form::given) {
      return smeared_first_differences(*smearing, a, b);
    }
    Tensor result;
    with_form<TensorArithmetic>(form, exponent_of(f), [&](const auto& formula) {
      result = formula.first(a, b, formula.single(a), formula.single(b));
    });
    return constant_at_zero(f, eigenvalues, result);
  }
  if (f.name == "steps") {
    const auto y = f.jets.select(-2, 0);
    const auto rise = y.unsqueeze(-2) - y.unsqueeze(-1);
    const auto gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1);
    return at::where(rise == 0, at::zeros_like(rise), quotient(rise, gap));
  }
  const auto jets = f.name == "powers" ? powers_for_differences(eigenvalues, f.jets) : f.jets;
  return constant_at_zero(f, eigenvalues, PairDifferences(eigenvalues, jets).value);
}

DifferenceArguments difference_arguments(const ScalarFunction& f, const Tensor& eigenvalues, int64_t order) {
  const auto* form = closed_form(f);
  if (form == nullptr) {
    const auto jets = f.name == "powers" ? powers_for_differences(eigenvalues, f.jets) : f.jets;
    return {eigenvalues, without_infinite_derivatives(eigenvalues, jets), {}};
  }
  auto x = without_noise_at_zero(f, eigenvalues);
  if (form->second != nullptr) {
    return {x, {}, {}};
  }
  Tensor unit;
  if (f.name == "power" || f.name == "log") {
    // Homogeneous functions (the derivatives of the logarithm are) are computed in units of s, to avoid overflow of
    // powers:
    //     f[a,b,c] = s^(p-2) f[a/s,b/s,c/s],   f[a,b,c,d] = s^(p-3) f[a/s,b/s,c/s,d/s].
    const auto p = f.name == "power" ? f.parameters[0] : 0.0;
    const auto largest = x.abs().amax({-1}, /*keepdim=*/true);
    const auto s = at::where(largest > 0, largest, at::ones_like(largest));
    x = x / s;
    unit = s.pow(p - static_cast<double>(order));
  }
  const auto jets = form->jets(x, f.parameters);
  return {x, is_singular_at_zero(f) ? without_infinite_derivatives(x, jets) : jets, unit};
}

Tensor may_expand_any_function(const Tensor& a, const Tensor& b) {
  const auto gap = (b - a).abs();
  return (gap <= tolerances::reach_of_any_expansion * at::maximum(a.abs(), b.abs()))
      .logical_or(gap <= tolerances::always_expanded_gap);
}

SecondDifferences::SecondDifferences(const ScalarFunction& f, const Tensor& eigenvalues) : f_(f) {
  const auto arguments = difference_arguments(f, eigenvalues, 2);
  x_ = arguments.x;
  jets_ = arguments.jets;
  if (arguments.unit.defined()) {
    unit_ = arguments.unit.unsqueeze(-1).unsqueeze(-1);
  }
  if (jets_.defined()) {
    first_ = first_differences(f, x_);
  }
}

Tensor SecondDifferences::slice(int64_t start, int64_t count) const {
  const Triples triples(x_.size(-1), start, count, x_.device());
  if (f_.name == "steps") {
    return step_triples(x_, first_, jets_.select(-2, 0), triples);
  }
  if (!jets_.defined()) {
    return closed_form(f_)->second(
        at_positions(x_, triples.low),
        at_positions(x_, triples.middle),
        at_positions(x_, triples.high));
  }
  const auto result = triple_differences(x_, first_, jets_, triples);
  return unit_.defined() ? result * unit_ : result;
}

Tensor first_differences_transposed(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& C) {
  const PairDifferences pairs(eigenvalues, f.jets);
  const auto expanded = pairs.expanded.logical_and(
      may_expand_any_function(eigenvalues.unsqueeze(-1), eigenvalues.unsqueeze(-2)));
  const auto order = f.jets.size(-2) - 1;
  const auto zero = at::zeros_like(C);
  std::vector<Tensor> rows{2 * at::where(expanded, zero, quotient(C, -pairs.gap)).sum(-1)};
  const auto coefficients = two_point_coefficients(order);
  auto weights = at::where(expanded, C, zero);
  for (int64_t k = 1; k <= order; ++k) {
    rows.push_back((2 * coefficients[k]) * weights.sum(-1));
    weights = weights * pairs.gap;
  }
  return at::stack(rows, -2);
}

} // namespace spectralgrad::math
