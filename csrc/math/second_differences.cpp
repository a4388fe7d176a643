#include "math/second_differences.h"

#include "math/closed_form_table.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/positions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// The triples (i, j, k), each in ascending order, which is the order of the eigenvalues: positions (n, n, count).
struct Triples {
  Tensor low;
  Tensor middle;
  Tensor high;

  Triples(int64_t n, int64_t start, int64_t count, const at::Device& device) {
    const auto all = all_positions(n, device);
    const auto i = all.view({n, 1, 1}).expand({n, n, count});
    const auto j = all.view({1, n, 1}).expand({n, n, count});
    const auto k = all.narrow(0, start, count).view({1, 1, count}).expand({n, n, count});
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
  const auto slope = effect_of_rounding(eigenvalues, jets, 1);
  const auto terms = upper.abs() + lower.abs() + at_positions(slope, triples.low) + at_positions(slope, triples.high);
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
  const auto low = at_positions(steps, triples.low);
  const auto middle = at_positions(steps, triples.middle);
  const auto high = at_positions(steps, triples.high);
  // If two values are equal and one is odd, the result is f[odd,one]/(odd - other).
  const auto odd = [&](const Tensor& i, const Tensor& one, const Tensor& other) {
    return quotient(pair(i, one), difference(eigenvalues, i, other));
  };
  const auto none = at::zeros_like(low);
  const auto all_differ = quotient(
      pair(triples.middle, triples.high) - pair(triples.low, triples.middle),
      difference(eigenvalues, triples.high, triples.low));
  return at::where(
      low == middle,
      at::where(middle == high, none, odd(triples.high, triples.middle, triples.low)),
      at::where(
          middle == high,
          odd(triples.low, triples.middle, triples.high),
          at::where(low == high, odd(triples.middle, triples.low, triples.high), all_differ)));
}

} // namespace

SecondDifferences::SecondDifferences(const ScalarFunction& f, const Tensor& eigenvalues)
    : f_(f), arguments_(difference_arguments(f, eigenvalues, 2)) {
  if (arguments_.jets.defined()) {
    first_ = first_differences(f, arguments_.x);
  }
}

Tensor SecondDifferences::slice(int64_t start, int64_t count) const {
  const auto& [x, jets, unit] = arguments_;
  const Triples triples(x.size(-1), start, count, x.device());
  if (f_.name == "steps") {
    return step_triples(x, first_, jets.select(-2, 0), triples);
  }
  if (!jets.defined()) {
    return closed_form(f_.name)->second(
        at_positions(x, triples.low),
        at_positions(x, triples.middle),
        at_positions(x, triples.high));
  }
  const auto result = triple_differences(x, first_, jets, triples);
  return unit.defined() ? result * unit.unsqueeze(-1).unsqueeze(-1) : result;
}

} // namespace spectralgrad::math
