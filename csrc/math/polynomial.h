#pragma once

#include <ranges>
#include <utility>
#include <vector>

namespace spectralgrad::math {

/// The coefficients of a polynomial, lowest power first.
using Polynomial = std::vector<double>;

/// p(z) for a number or a tensor, by Horner's rule; `zero` is the 0 of z's kind and shape.
template <typename Number>
Number evaluate(const Polynomial& p, const Number& z, Number zero) {
  auto sum = std::move(zero);
  for (const auto c : std::views::reverse(p)) {
    sum = sum * z + c;
  }
  return sum;
}

} // namespace spectralgrad::math
