#include "math/divided_differences.h"

#include "core/tolerances.h"
#include "math/closed_form_table.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/smearing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <vector>

namespace spectralgrad::math {
namespace {

using at::Tensor;

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

/// Returns the differences (*, n, n), with 0 between two singular eigenvalues if f' is infinite there.
Tensor constant_at_zero(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& differences) {
  if (finite_derivatives_at_zero(f) > 0) {
    return differences;
  }
  const auto singular = singular_eigenvalues(f, eigenvalues);
  return singular.defined() ? differences.masked_fill(singular.unsqueeze(-1).logical_and(singular.unsqueeze(-2)), 0)
                            : differences;
}

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

/// f[a,b] of all pairs from jets, and which of the two formulas each pair uses.
struct PairDifferences {
  Tensor gap; // d_ij = lambda_j - lambda_i
  Tensor expanded; // bool: whether the pair uses the expansion and not the quotient
  Tensor value;

  PairDifferences(const Tensor& eigenvalues, const Tensor& jets) {
    const auto order = jets.size(-2) - 1;
    gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1);
    const auto f = jets.select(-2, 0);
    const auto size_of_terms = order == 0 ? f.abs() : f.abs() + effect_of_rounding(eigenvalues, jets, 0);
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

} // namespace

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
  const auto* form = closed_form(f.name);
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

Tensor effect_of_rounding(const Tensor& x, const Tensor& jets, int64_t k) {
  return (x * jets.select(-2, k + 1)).abs();
}

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

Tensor may_expand_any_function(const Tensor& a, const Tensor& b) {
  const auto gap = (b - a).abs();
  return (gap <= tolerances::reach_of_any_expansion * at::maximum(a.abs(), b.abs()))
      .logical_or(gap <= tolerances::always_expanded_gap);
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
