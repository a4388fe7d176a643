#include "math/closed_form_table.h"

#include "math/smearing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <array>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using Parameters = std::vector<double>;

constexpr int64_t order = 6; // of the jets

Tensor exp_jets(const Tensor& x, const Parameters&) {
  return at::stack(std::vector<Tensor>(order + 1, x.exp()), -2);
}

Tensor log_jets(const Tensor& x, const Parameters&) {
  std::vector<Tensor> rows{x.log(), x.reciprocal()};
  for (int64_t k = 2; k <= order; ++k) {
    rows.push_back(rows.back() * rows[1] * -static_cast<double>(k - 1));
  }
  return at::stack(rows, -2);
}

Tensor power_jets(const Tensor& x, const Parameters& parameters) {
  std::vector<Tensor> rows;
  double coefficient = 1;
  for (int64_t k = 0; k <= order; ++k) {
    const auto exponent = parameters[0] - static_cast<double>(k);
    rows.push_back(coefficient == 0 ? at::zeros_like(x) : x.pow(exponent) * coefficient);
    coefficient *= exponent;
  }
  return at::stack(rows, -2);
}

/// Returns x divided by each sum of two of the roots p <= q <= r <= s.
Tensor over_pair_sums(const Tensor& x, const Tensor& p, const Tensor& q, const Tensor& r, const Tensor& s) {
  return x / (r + s) / (q + s) / (q + r) / (p + s) / (p + r) / (p + q);
}

Tensor sqrt_second(const Tensor& a, const Tensor& b, const Tensor& c) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto regular = -(p + q).reciprocal() / (q + r) / (p + r);
  const auto at_zero = at::where(r == 0, at::zeros_like(r), r.pow(-3));
  return at::where(q == 0, at_zero, regular);
}

/// The sum of the roots, divided by all pair sums. If several arguments are 0, it uses the function that is 0 around 0:
///     f[0,0,c,d] = -(r^2 + r s + s^2)/(r^3 s^3 (r + s)),   f[0,0,0,d] = s^-5.
Tensor sqrt_third(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto s = d.sqrt();
  const auto regular = over_pair_sums(p + q + r + s, p, q, r, s);
  const auto two_zeros = -(r * r + r * s + s * s) / (r + s) / r.pow(3) / s.pow(3);
  const auto three_zeros = at::where(s == 0, at::zeros_like(s), s.pow(-5));
  return at::where(q == 0, at::where(r == 0, three_zeros, two_zeros), regular);
}

Tensor invsqrt_second(const Tensor& a, const Tensor& b, const Tensor& c) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  return (p + q + r) / (p + q) / (q + r) / (p + r) / p / q / r;
}

/// -(e_1 e_2 - e_3)/(p q r s), divided by all pair sums, with the elementary symmetric polynomials e_k of the roots.
Tensor invsqrt_third(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  const auto p = a.sqrt();
  const auto q = b.sqrt();
  const auto r = c.sqrt();
  const auto s = d.sqrt();
  const auto e1 = p + q + r + s;
  const auto e2 = p * q + r * s + (p + q) * (r + s);
  const auto e3 = p * q * (r + s) + r * s * (p + q);
  return -over_pair_sums(e1 * e2 - e3, p, q, r, s) / p / q / r / s;
}

/// The difference of order m of the pseudo-inverse at m + 1 arguments. If k of them are 0, it is that of x^-(k+1) at
/// the others: the product of their inverses times h_k, the complete homogeneous symmetric polynomial of the inverses,
/// with the sign (-1)^(m-k).
template <typename... Tensors>
Tensor pinv_difference(const Tensor& first, const Tensors&... others) {
  constexpr size_t m = sizeof...(others);
  auto product = at::ones_like(first);
  auto zeros = at::zeros_like(first);
  std::array<Tensor, m + 1> h;
  h.fill(zeros);
  h[0] = product;
  for (const auto& x : {first, others...}) {
    const auto is_zero = x == 0;
    const auto factor = at::where(is_zero, at::ones_like(x), x).reciprocal();
    const auto inverse = at::where(is_zero, at::zeros_like(x), factor);
    product = product * factor;
    zeros = zeros + is_zero.to(x.scalar_type());
    for (size_t k = 1; k <= m; ++k) {
      h[k] = h[k] + inverse * h[k - 1];
    }
  }
  auto result = at::zeros_like(first);
  for (size_t k = 0; k <= m; ++k) {
    const double sign = (m - k) % 2 == 0 ? 1 : -1;
    result = at::where(zeros == static_cast<double>(k), sign * product * h[k], result);
  }
  return result;
}

template <Smearing smearing>
Tensor smearing_jets(const Tensor& x, const Parameters&) {
  return smeared_jets(smearing, x, order);
}

constexpr std::array closed_forms{
    ClosedForm{"exp", Form::exp, nullptr, nullptr, exp_jets},
    ClosedForm{"log", Form::log, nullptr, nullptr, log_jets},
    ClosedForm{"sqrt", Form::sqrt, sqrt_second, sqrt_third, nullptr},
    ClosedForm{"invsqrt", Form::invsqrt, invsqrt_second, invsqrt_third, nullptr},
    ClosedForm{"power", Form::power, nullptr, nullptr, power_jets},
    ClosedForm{"fermi", Form::fermi, nullptr, nullptr, smearing_jets<Smearing::fermi>},
    ClosedForm{"pinv", Form::pinv, pinv_difference, pinv_difference, nullptr},
    ClosedForm{"gaussian", Form::given, nullptr, nullptr, smearing_jets<Smearing::gaussian>},
    ClosedForm{"methfessel-paxton", Form::given, nullptr, nullptr, smearing_jets<Smearing::methfessel_paxton>},
    ClosedForm{"cold", Form::given, nullptr, nullptr, smearing_jets<Smearing::cold>},
};

} // namespace

const ClosedForm* closed_form(std::string_view name) {
  for (const auto& form : closed_forms) {
    if (name == form.name) {
      return &form;
    }
  }
  TORCH_CHECK_VALUE(
      name == "jets" || name == "powers" || name == "steps",
      "spectralgrad: Expected the name of a function (exp, log, sqrt, invsqrt, power, fermi, gaussian, "
      "methfessel-paxton, cold, pinv, jets, powers, steps), but got ",
      name);
  return nullptr;
}

} // namespace spectralgrad::math
