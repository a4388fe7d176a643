#include "math/third_differences.h"

#include "core/tolerances.h"
#include "math/pairs/tensor_arithmetic.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using Polynomial = std::vector<double>; // coefficients, the constant first

// --- Hermite's interpolation on [0, 1] ------------------------------------------------------------------------------

Polynomial product(const Polynomial& p, const Polynomial& q) {
  Polynomial result(p.size() + q.size() - 1);
  for (size_t i = 0; i < p.size(); ++i) {
    for (size_t j = 0; j < q.size(); ++j) {
      result[i + j] += p[i] * q[j];
    }
  }
  return result;
}

Polynomial power(const Polynomial& p, int64_t exponent) {
  Polynomial result{1};
  for (int64_t k = 0; k < exponent; ++k) {
    result = product(result, p);
  }
  return result;
}

double value_at(const Polynomial& p, double s) {
  double result = 0;
  for (auto c = p.rbegin(); c != p.rend(); ++c) {
    result = result * s + *c;
  }
  return result;
}

double factorial(int64_t k) {
  return k < 2 ? 1 : static_cast<double>(k) * factorial(k - 1);
}

double binomial(int64_t n, int64_t k) {
  return factorial(n) / factorial(k) / factorial(n - k);
}

/// The polynomial of degree 2 r - 1 whose derivatives up to the order r - 1 are zero at both ends, except for the j-th
/// at the lower (upper) end, which is 1. It is s^j/j! (1-s)^r sum_k C(r-1+k, k) s^k, or its mirror image. Davis (1975),
/// "Interpolation and Approximation", section 2.5.
Polynomial hermite_basis(int64_t r, int64_t j, bool upper) {
  const Polynomial near = upper ? Polynomial{1, -1} : Polynomial{0, 1};
  const Polynomial far = upper ? Polynomial{0, 1} : Polynomial{1, -1};
  Polynomial sum(static_cast<size_t>(r), 0.0);
  for (int64_t k = 0; k < r - j; ++k) {
    const auto term = power(near, k);
    for (size_t q = 0; q < term.size(); ++q) {
      sum[q] += binomial(r - 1 + k, k) * term[q];
    }
  }
  auto result = product(product(power(near, j), power(far, r)), sum);
  const double sign = upper && j % 2 == 1 ? -1 : 1;
  for (auto& c : result) {
    c *= sign / factorial(j);
  }
  result.resize(static_cast<size_t>(2 * r));
  return result;
}

/// A function g and its derivatives up to the order r - 1 at both ends of every pair of eigenvalues, in units of the
/// gap.
struct Ends {
  std::vector<Tensor> lower; // (*, n, n) or what broadcasts to it
  std::vector<Tensor> upper;
  Tensor rise; // g(upper) - g(lower)

  Ends(int64_t m, const Tensor& jets, const Tensor& gap) {
    auto scale = at::ones_like(gap);
    for (int64_t k = m; k < jets.size(-2); ++k) {
      const auto row = jets.select(-2, k);
      lower.push_back(row.unsqueeze(-1) * scale);
      upper.push_back(row.unsqueeze(-2) * scale);
      scale = scale * gap;
    }
    rise = upper[0] - lower[0];
  }

  /// The interpolant of the first r derivatives at s, minus g(lower).
  Tensor interpolant(int64_t r, double s) const {
    auto sum = rise * value_at(hermite_basis(r, 0, /*upper=*/true), s);
    for (int64_t j = 1; j < r; ++j) {
      sum = sum + lower[j] * value_at(hermite_basis(r, j, false), s) +
          upper[j] * value_at(hermite_basis(r, j, true), s);
    }
    return sum;
  }
};

Tensor difference(const Tensor& x, const Tensor& i, const Tensor& j) {
  return at_positions(x, i) - at_positions(x, j);
}

/// Differences of order m, from those of order m - 1 without the last argument (`lower`) and without the first
/// (`upper`).
struct Choice {
  Tensor expanded; // bool: whether the expansion is used and not the quotient
  Estimated difference;

  /// `expansion` is null if f is constant around each eigenvalue. Differences between equal arguments are then 0.
  Choice(const Tensor& width, const Estimated& lower, const Estimated& upper, const Estimated* expansion) {
    const auto by_quotient = quotient(upper.value - lower.value, width);
    const auto eps = tolerances::eps(width.scalar_type());
    const auto error = (upper.error + lower.error) / width + eps * by_quotient.abs();
    const auto equal = width == 0;
    if (expansion == nullptr) {
      expanded = equal;
      difference = {by_quotient, at::where(equal, at::zeros_like(error), error)};
      return;
    }
    const auto& [value, expansion_error] = *expansion;
    // Given derivatives may be wrong, so the expansion is used only if it agrees with the quotient.
    const auto agree = (value - by_quotient).abs() <= tolerances::agreement * (error + expansion_error);
    expanded = equal.logical_or(agree.logical_and(expansion_error <= error));
    difference = {at::where(expanded, value, by_quotient), at::where(expanded, expansion_error, error)};
  }
};

/// All sorted triples of n positions, in the order of `triple_index`.
Positions all_triples(int64_t n, const at::Device& device) {
  const auto options = at::TensorOptions(device).dtype(at::kLong);
  const auto all = at::arange(n, options);
  const auto high = all.view({n, 1, 1}).expand({n, n, n});
  const auto middle = all.view({1, n, 1}).expand({n, n, n});
  const auto low = all.view({1, 1, n}).expand({n, n, n});
  const auto ascending = (low <= middle).logical_and(middle <= high);
  return {low.masked_select(ascending), middle.masked_select(ascending), high.masked_select(ascending)};
}

Positions slice(const Positions& positions, int64_t start, int64_t count) {
  Positions result;
  for (const auto& p : positions) {
    result.push_back(p.narrow(0, start, count));
  }
  return result;
}

/// First differences of all pairs, (*, n^2), each by the more accurate formula. A transpose passes the `choice` that
/// was made.
struct FirstLevel {
  Tensor x;
  Tensor jets;
  Positions pairs;
  Expansion expansion;
  Choice choice;

  FirstLevel(const Tensor& x, const Tensor& jets)
      : x(x), jets(jets), pairs(all_pairs(x)), expansion(1, x, jets), choice(choose()) {}

  static Positions all_pairs(const Tensor& x) {
    const auto n = x.size(-1);
    const auto all = at::arange(n, at::TensorOptions(x.device()).dtype(at::kLong));
    return sorted({all.repeat_interleave(n), all.repeat(n)});
  }

  Choice choose() const {
    const auto eps = tolerances::eps(x.scalar_type());
    const auto f = jets.select(-2, 0);
    // The error of f is eps*|f|, and eps*|x f'|: a value that vanishes by cancellation, such as x^2 - 1 at 1, has an
    // error above eps*|f|.
    const auto error = eps * (f.abs() + (x * jets.select(-2, 1)).abs().nan_to_num());
    const auto expanded = expansion.at(pairs);
    return {
        difference(x, pairs[1], pairs[0]),
        {at_positions(f, pairs[0]), at_positions(error, pairs[0])},
        {at_positions(f, pairs[1]), at_positions(error, pairs[1])},
        &expanded};
  }
};

/// First differences of all pairs: (*, n^2).
Estimated first_level(const ScalarFunction& f, const DifferenceArguments& arguments) {
  if (f.name == "jets" || f.name == "powers") {
    return FirstLevel(arguments.x, arguments.jets).choice.difference;
  }
  const auto value = first_differences(f, arguments.x).flatten(-2);
  auto error = value.abs();
  if (f.name != "steps") {
    // The error of f' is eps*|f'|, and eps*|x f''|, which is larger in the tails of a Gaussian.
    const auto slope = (arguments.x * arguments.jets.select(-2, 2)).abs();
    error = error + at::maximum(slope.unsqueeze(-1), slope.unsqueeze(-2)).flatten(-2);
  }
  return {value, tolerances::first_difference(value.scalar_type()) * error};
}

Choice second_level(const Tensor& x, const Estimated& first, const Expansion* expansion, const Positions& triples) {
  const auto n = x.size(-1);
  const auto lower = triples[0] * n + triples[1];
  const auto upper = triples[1] * n + triples[2];
  const auto at = [&](const Tensor& pairs) {
    return Estimated{at_positions(first.value, pairs), at_positions(first.error, pairs)};
  };
  Estimated expanded;
  if (expansion != nullptr) {
    expanded = expansion->at(triples);
  }
  return {difference(x, triples[2], triples[0]), at(lower), at(upper), expansion != nullptr ? &expanded : nullptr};
}

/// Calls `f(start, count)` for parts of `size` columns, so that each part has a few million entries in x's batch.
template <typename F>
void in_parts(const Tensor& x, int64_t size, const F& f) {
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto batch = std::max<int64_t>(1, x.numel() / std::max<int64_t>(1, x.size(-1)));
  const auto step = std::max<int64_t>(1, entries_at_a_time / batch);
  for (int64_t start = 0; start < size; start += step) {
    f(start, std::min(step, size - start));
  }
}

Tensor table(const Tensor& x, int64_t size) {
  auto shape = x.sizes().vec();
  shape.back() = size;
  return at::empty(shape, x.options());
}

/// Returns x divided by each sum of two of the roots p <= q <= r <= s.
Tensor over_pair_sums(const Tensor& x, const Tensor& p, const Tensor& q, const Tensor& r, const Tensor& s) {
  return x / (r + s) / (q + s) / (q + r) / (p + s) / (p + r) / (p + q);
}

// Closed forms: a <= b <= c <= d are the arguments, and p, q, r, s their square roots.

/// The sum of the roots, divided by all pair sums. If several arguments are 0, it uses the function that is 0 around 0:
///     f[0,0,c,d] = -(r^2 + r s + s^2)/(r^3 s^3 (r + s)),   f[0,0,0,d] = s^-5.
Tensor square_root(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto s = d.sqrt();
  const auto regular = over_pair_sums(p + q + r + s, p, q, r, s);
  const auto two_zeros = -(r * r + r * s + s * s) / (r + s) / r.pow(3) / s.pow(3);
  const auto three_zeros = at::where(s == 0, at::zeros_like(s), s.pow(-5));
  return at::where(q == 0, at::where(r == 0, three_zeros, two_zeros), regular);
}

/// -(e_1 e_2 - e_3)/(p q r s), divided by all pair sums, with the elementary symmetric polynomials e_k of the roots.
Tensor inverse_square_root(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto s = d.sqrt();
  const auto e1 = p + q + r + s;
  const auto e2 = p * q + r * s + (p + q) * (r + s);
  const auto e3 = p * q * (r + s) + r * s * (p + q);
  return -over_pair_sums(e1 * e2 - e3, p, q, r, s) / p / q / r / s;
}

/// If k arguments are 0, the difference is that of x^-(k+1) at the others. This is the product of their inverses and of
/// h_k, the complete homogeneous symmetric polynomial of the inverses, with the sign (-1)^(3-k).
Tensor pseudo_inverse(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  auto product = at::ones_like(a);
  auto zeros = at::zeros_like(a);
  std::array<Tensor, 4> h{at::ones_like(a), zeros, zeros, zeros};
  for (const auto& x : {a, b, c, d}) {
    const auto is_zero = x == 0;
    const auto factor = at::where(is_zero, at::ones_like(x), x).reciprocal();
    const auto inverse = at::where(is_zero, at::zeros_like(x), factor);
    product = product * factor;
    zeros = zeros + is_zero.to(x.scalar_type());
    for (size_t k = 1; k < h.size(); ++k) {
      h[k] = h[k] + inverse * h[k - 1];
    }
  }
  auto result = at::zeros_like(a);
  for (int k = 0; k < 4; ++k) {
    const double sign = k % 2 == 0 ? -1 : 1;
    result = at::where(zeros == k, sign * product * h[static_cast<size_t>(k)], result);
  }
  return result;
}

} // namespace

// --- expansions
// -----------------------------------------------------------------------------------------------------------

Expansion::Expansion(int64_t m, const Tensor& x, const Tensor& jets) : m_(m), x_(x), jets_(jets) {
  const auto r = jets.size(-2) - m;
  const auto gap = x.unsqueeze(-2) - x.unsqueeze(-1);
  const Ends ends(m, jets, gap);
  for (int64_t q = 0; q < 2 * r; ++q) {
    const auto at_q = [&](int64_t j, bool upper) {
      return hermite_basis(r, j, upper)[static_cast<size_t>(q)];
    };
    auto sum = ends.rise * at_q(0, true);
    for (int64_t j = 1; j < r; ++j) {
      sum = sum + ends.lower[j] * at_q(j, false) + ends.upper[j] * at_q(j, true);
    }
    if (q == 0) {
      sum = sum + ends.lower[0];
    }
    coefficients_.push_back((sum * (factorial(q) / factorial(q + m))).flatten(-2));
  }
  // The contribution of the last derivatives is the error without them, a power 2 (r - 1) of the gap. The error with
  // them is a power 2 r.
  const auto size = at::maximum(ends.lower[0].abs(), ends.upper[0].abs());
  auto step = ends.rise.abs();
  if (r > 1) {
    step = at::zeros_like(gap);
    for (const double s : {0.3, 0.5, 0.7}) {
      step = at::maximum(step, (ends.interpolant(r, s) - ends.interpolant(r - 1, s)).abs());
    }
  }
  const auto exponent = r > 1 ? static_cast<double>(r) / static_cast<double>(r - 1) : 2.0;
  const auto error = at::where(size > 0, size * (step / size).pow(exponent), step);
  const auto rounding = tolerances::interpolant(x.scalar_type()) * size;
  error_ = ((error + rounding) / factorial(m)).flatten(-2);
}

/// The complete homogeneous symmetric polynomials h_q(s_1 ... s_(m-1), 1) for all powers q. Up to a factor, they are
/// the means of t^q over the simplex with the corners 0, s_1 ... s_(m-1), 1.
std::vector<Tensor> Expansion::simplex_means(const Positions& positions) const {
  const auto width = difference(x_, positions.back(), positions.front());
  std::vector<Tensor> h(coefficients_.size(), at::ones_like(width));
  for (int64_t k = 1; k < m_; ++k) {
    const auto s = quotient(difference(x_, positions[static_cast<size_t>(k)], positions.front()), width);
    for (size_t q = 1; q < h.size(); ++q) {
      h[q] = s * h[q - 1] + h[q];
    }
  }
  return h;
}

Estimated Expansion::at(const Positions& positions) const {
  const auto& low = positions.front();
  const auto& high = positions.back();
  const auto pair = low * x_.size(-1) + high;
  const auto h = simplex_means(positions);
  auto sum = at_positions(coefficients_[0], pair);
  for (size_t q = 1; q < h.size(); ++q) {
    sum = sum + at_positions(coefficients_[q], pair) * h[q];
  }
  // Not 0 times a derivative of higher order, which may be infinite.
  const auto equal = difference(x_, high, low) == 0;
  const auto derivative = at_positions(jets_.select(-2, m_), low) / factorial(m_);
  const auto rounding = tolerances::eps(x_.scalar_type()) * derivative.abs();
  return {at::where(equal, derivative, sum), at::where(equal, rounding, at_positions(error_, pair))};
}

Tensor Expansion::transposed(const Positions& positions, const Tensor& weights) const {
  const auto n = x_.size(-1);
  const auto r = jets_.size(-2) - m_;
  const auto pair = positions.front() * n + positions.back();
  const auto h = simplex_means(positions);
  const auto gap = x_.unsqueeze(-2) - x_.unsqueeze(-1);
  std::vector<Tensor> rows(static_cast<size_t>(jets_.size(-2)), at::zeros_like(x_));
  for (int64_t q = 0; q < 2 * r; ++q) {
    const auto factor = factorial(q) / factorial(q + m_);
    auto of_pairs = at::zeros_like(gap.flatten(-2), at::MemoryFormat::Contiguous);
    of_pairs.index_add_(-1, pair, weights * h[static_cast<size_t>(q)] * factor);
    auto scaled = of_pairs.reshape(gap.sizes());
    for (int64_t j = 0; j < r; ++j) {
      const auto upper = hermite_basis(r, j, true)[static_cast<size_t>(q)];
      const auto lower = j > 0 ? hermite_basis(r, j, false)[static_cast<size_t>(q)] : (q == 0 ? 1 : 0) - upper;
      auto& row = rows[static_cast<size_t>(m_ + j)];
      row = row + scaled.sum(-1) * lower + scaled.sum(-2) * upper;
      scaled = scaled * gap;
    }
  }
  return at::stack(rows, -2);
}

// --- differences
// ----------------------------------------------------------------------------------------------------------

int64_t triple_count(int64_t n) {
  return n * (n + 1) * (n + 2) / 6;
}

Tensor triple_index(const Positions& sorted) {
  const auto& i = sorted[0];
  const auto& j = sorted[1];
  const auto& k = sorted[2];
  return (k * (k + 1) * (k + 2)).floor_divide(6) + (j * (j + 1)).floor_divide(2) + i;
}

Positions sorted(const Positions& positions) {
  return std::get<0>(at::stack(positions, 0).sort(0)).unbind(0);
}

ThirdDifferences::ThirdDifferences(const ScalarFunction& f, const Tensor& eigenvalues)
    : f_(f), arguments_(difference_arguments(f, eigenvalues, 3)) {
  const auto& [x, jets, unit] = arguments_;
  if (!jets.defined()) {
    return;
  }
  if (f.name != "steps") {
    expansions_ = {Expansion(2, x, jets), Expansion(3, x, jets)};
  }
  const auto first = first_level(f, arguments_);
  const auto triples = all_triples(x.size(-1), x.device());
  const auto count = triple_count(x.size(-1));
  second_ = {table(x, count), table(x, count)};
  in_parts(x, count, [&](int64_t start, int64_t part) {
    const auto* expansion = expansions_.empty() ? nullptr : expansions_.data();
    const auto choice = second_level(x, first, expansion, slice(triples, start, part));
    second_.value.narrow(-1, start, part).copy_(choice.difference.value);
    second_.error.narrow(-1, start, part).copy_(choice.difference.error);
  });
}

Tensor ThirdDifferences::at(const Positions& positions) const {
  const auto p = sorted(positions);
  const auto& x = arguments_.x;
  Tensor result;
  if (!arguments_.jets.defined()) {
    const auto form = f_.name == "sqrt" ? square_root : f_.name == "invsqrt" ? inverse_square_root : pseudo_inverse;
    result = form(at_positions(x, p[0]), at_positions(x, p[1]), at_positions(x, p[2]), at_positions(x, p[3]));
  } else {
    const auto below = [&](const Positions& triple) {
      const auto index = triple_index(triple);
      return Estimated{at_positions(second_.value, index), at_positions(second_.error, index)};
    };
    Estimated expanded;
    if (!expansions_.empty()) {
      expanded = expansions_[1].at(p);
    }
    const Choice choice(
        difference(x, p[3], p[0]),
        below({p[0], p[1], p[2]}),
        below({p[1], p[2], p[3]}),
        expansions_.empty() ? nullptr : &expanded);
    result = choice.difference.value;
  }
  auto unit = arguments_.unit;
  if (!unit.defined()) {
    return result;
  }
  while (unit.dim() < result.dim()) {
    unit = unit.unsqueeze(-1);
  }
  return result * unit;
}

Tensor second_differences_transposed(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& weights) {
  const auto& [x, jets, unit] = difference_arguments(f, eigenvalues, 2);
  const auto n = x.size(-1);
  const FirstLevel first(x, jets);
  const Expansion expansion(2, x, jets);
  const auto triples = all_triples(n, x.device());
  const auto zero = at::zeros_like(weights);
  const auto by_quotient = [](const Tensor& expanded, const Tensor& w, const Tensor& width) {
    return quotient(w.masked_fill(expanded, 0), width);
  };

  const auto may_expand = [&](const Positions& positions) {
    return may_expand_any_function(at_positions(x, positions.front()), at_positions(x, positions.back()));
  };

  const auto second =
      second_level(x, first.choice.difference, &expansion, triples).expanded.logical_and(may_expand(triples));
  auto gradient = expansion.transposed(triples, at::where(second, weights, zero));
  const auto of_triples = by_quotient(second, weights, difference(x, triples[2], triples[0]));
  auto of_pairs = at::zeros_like(first.choice.expanded, x.options());
  of_pairs.index_add_(-1, triples[1] * n + triples[2], of_triples);
  of_pairs.index_add_(-1, triples[0] * n + triples[1], -of_triples);

  const auto expanded = first.choice.expanded.logical_and(may_expand(first.pairs));
  gradient = gradient + first.expansion.transposed(first.pairs, of_pairs.masked_fill(expanded.logical_not(), 0));
  const auto of_ends = by_quotient(expanded, of_pairs, difference(x, first.pairs[1], first.pairs[0]));
  auto values = gradient.select(-2, 0);
  values.index_add_(-1, first.pairs[1], of_ends);
  values.index_add_(-1, first.pairs[0], -of_ends);
  return gradient;
}

} // namespace spectralgrad::math
