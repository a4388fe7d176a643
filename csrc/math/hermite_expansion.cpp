#include "math/hermite_expansion.h"

#include "core/tolerances.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/polynomial.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;

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

double basis_at(int64_t r, int64_t j, bool upper, double s) {
  return evaluate(hermite_basis(r, j, upper), s, 0.0);
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
    auto sum = rise * basis_at(r, 0, /*upper=*/true, s);
    for (int64_t j = 1; j < r; ++j) {
      sum = sum + lower[j] * basis_at(r, j, false, s) + upper[j] * basis_at(r, j, true, s);
    }
    return sum;
  }
};

} // namespace

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
    const auto of_pairs = at::zeros_like(gap.flatten(-2), at::MemoryFormat::Contiguous);
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

} // namespace spectralgrad::math
