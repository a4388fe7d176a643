#include "math/third_differences.h"

#include "core/tolerances.h"
#include "math/closed_form_table.h"
#include "math/pairs/tensor_arithmetic.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <optional>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using OptionalEstimate = std::optional<Estimated>;

/// Differences of order m, from those of order m - 1 without the last argument (`lower`) and without the first
/// (`upper`).
struct Choice {
  Tensor expanded; // bool: whether the expansion is used and not the quotient
  Estimated difference;

  /// There is no `expansion` if f is constant around each eigenvalue. Differences between equal arguments are then 0.
  Choice(const Tensor& width, const Estimated& lower, const Estimated& upper, const OptionalEstimate& expansion) {
    const auto by_quotient = quotient(upper.value - lower.value, width);
    const auto eps = tolerances::eps(width.scalar_type());
    const auto error = (upper.error + lower.error) / width + eps * by_quotient.abs();
    const auto equal = width == 0;
    if (!expansion) {
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
    const auto all = all_positions(n, x.device());
    return sorted({all.repeat_interleave(n), all.repeat(n)});
  }

  Choice choose() const {
    const auto eps = tolerances::eps(x.scalar_type());
    const auto f = jets.select(-2, 0);
    const auto error = eps * (f.abs() + effect_of_rounding(x, jets, 0).nan_to_num());
    return {
        difference(x, pairs[1], pairs[0]),
        {at_positions(f, pairs[0]), at_positions(error, pairs[0])},
        {at_positions(f, pairs[1]), at_positions(error, pairs[1])},
        expansion.at(pairs)};
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
    const auto slope = effect_of_rounding(arguments.x, arguments.jets, 1);
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
  const auto expanded = expansion != nullptr ? OptionalEstimate(expansion->at(triples)) : std::nullopt;
  return {difference(x, triples[2], triples[0]), at(lower), at(upper), expanded};
}

Tensor table(const Tensor& x, int64_t size) {
  auto shape = x.sizes().vec();
  shape.back() = size;
  return at::empty(shape, x.options());
}

} // namespace

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
  in_parts(count, x.numel() / std::max<int64_t>(1, x.size(-1)), [&](int64_t start, int64_t part) {
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
    result = closed_form(f_.name)
                 ->third(at_positions(x, p[0]), at_positions(x, p[1]), at_positions(x, p[2]), at_positions(x, p[3]));
  } else {
    const auto below = [&](const Positions& triple) {
      const auto index = triple_index(triple);
      return Estimated{at_positions(second_.value, index), at_positions(second_.error, index)};
    };
    const auto expanded = expansions_.empty() ? std::nullopt : OptionalEstimate(expansions_[1].at(p));
    const Choice choice(difference(x, p[3], p[0]), below({p[0], p[1], p[2]}), below({p[1], p[2], p[3]}), expanded);
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
  const auto of_pairs = at::zeros_like(first.choice.expanded, x.options());
  of_pairs.index_add_(-1, triples[1] * n + triples[2], of_triples);
  of_pairs.index_add_(-1, triples[0] * n + triples[1], -of_triples);

  const auto expanded = first.choice.expanded.logical_and(may_expand(first.pairs));
  gradient = gradient + first.expansion.transposed(first.pairs, of_pairs.masked_fill(expanded.logical_not(), 0));
  const auto of_ends = by_quotient(expanded, of_pairs, difference(x, first.pairs[1], first.pairs[0]));
  const auto values = gradient.select(-2, 0);
  values.index_add_(-1, first.pairs[1], of_ends);
  values.index_add_(-1, first.pairs[0], -of_ends);
  return gradient;
}

} // namespace spectralgrad::math
