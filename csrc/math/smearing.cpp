#include "math/smearing.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/gaussian_smearing.h"
#include "math/polynomial.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/erfc.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <utility>
#include <vector>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::recorded_constant;

/// e^(-z^2) is 0 for larger |z| in every dtype, so z is clamped to this, and polynomials of z do not overflow.
constexpr double horizon = 40;

struct Argument {
  Tensor z;
  Tensor weight; // e^(-z^2)

  Argument(const GaussianSmearing& f, const Tensor& x)
      : z((x + f.shift).clamp(-horizon, horizon)), weight(at::exp(-(z * z))) {}

  Tensor operator()(const Polynomial& p) const {
    return evaluate(p, z, at::zeros_like(z)) * weight;
  }
};

/// Appends P(z) e^(-z^2) and its derivatives up to the k-th. `weight` is e^(-z^2).
void append_jets(std::vector<Tensor>& rows, Polynomial p, int64_t k, const Tensor& z, const Tensor& weight) {
  for (int64_t i = 0; i <= k; ++i) {
    rows.push_back(evaluate(p, z, at::zeros_like(z)) * weight);
    p = derivative_of_weighted(p);
  }
}

/// erfc(z)/2 + p(z) e^(-z^2).
Tensor occupation(const GaussianSmearing& f, const Argument& at) {
  return at::erfc(at.z) * 0.5 + at(f.p);
}

Tensor jets_of(const GaussianSmearing& f, const Tensor& x, int64_t order) {
  const Argument at(f, x);
  std::vector<Tensor> rows{occupation(f, at)};
  append_jets(rows, scaled(f.slope(), -1), order - 1, at.z, at.weight);
  return at::stack(rows, -2);
}

/// Returns f where `is_above`, else f - 1; accurate to all digits if it is small.
Tensor tail(const GaussianSmearing& f, const Tensor& x, const Tensor& is_above) {
  const Argument at(f, x);
  const auto sign = at::where(is_above, at::ones_like(x), -1);
  return sign * (at::erfc(at.z * sign) * 0.5 + at(f.p) * sign);
}

/// Positive nodes on [-1, 1] and their weights, for the quadrature of ten points. All ten weights sum to 2.
// NOLINTBEGIN(modernize-use-std-numbers): one node happens to be near log10(e).
constexpr std::array<std::pair<double, double>, 5> gauss_legendre{{
    {0.14887433898163121088, 0.29552422471475287017},
    {0.43339539412924719080, 0.26926671930999635509},
    {0.67940956829902440623, 0.21908636251598204400},
    {0.86506336668898451073, 0.14945134915058059315},
    {0.97390652851717172008, 0.06667134430868813759},
}};
// NOLINTEND(modernize-use-std-numbers)

} // namespace

std::string name_of(Smearing smearing) {
  switch (smearing) {
    case Smearing::fermi:
      return "fermi";
    case Smearing::gaussian:
      return "gaussian";
    case Smearing::methfessel_paxton:
      return "methfessel-paxton";
    case Smearing::cold:
      return "cold";
  }
  return {};
}

std::optional<Smearing> smearing_of(std::string_view name) {
  for (const auto smearing : {Smearing::fermi, Smearing::gaussian, Smearing::methfessel_paxton, Smearing::cold}) {
    if (name == name_of(smearing)) {
      return smearing;
    }
  }
  return std::nullopt;
}

Tensor occupation_jets(Smearing smearing, const Tensor& x) {
  return smearing == Smearing::fermi ? fermi_jets(x) : jets_of(GaussianSmearing(smearing), x, 4);
}

Tensor entropy_jets(Smearing smearing, const Tensor& x) {
  if (smearing == Smearing::fermi) {
    return fermi_entropy_jets(x);
  }
  const GaussianSmearing f(smearing);
  const Argument at(f, x);
  std::vector<Tensor> rows;
  append_jets(rows, f.entropy, 4, at.z, at.weight);
  return at::stack(rows, -2);
}

OccupationSlope occupation_slope(Smearing smearing, const Tensor& x) {
  if (smearing == Smearing::fermi) {
    return fermi_slope(x);
  }
  const GaussianSmearing f(smearing);
  const auto z = x + f.shift;
  const auto size = recorded_constant(z).abs();
  const auto smallest = size.sym_size(-1) == 0 ? size.sum({-1}, /*keepdim=*/true) : size.amin({-1}, /*keepdim=*/true);
  // Weights are relative to the smallest z^2 of each matrix. If a weight underflows, z is set to 0, so that no
  // polynomial of z is infinite.
  const auto is_negligible = (size - smallest) * (size + smallest) > 800;
  const auto near = at::where(is_negligible, 0, z);
  const auto weight = at::where(is_negligible, 0, at::exp((smallest - near) * (smallest + near)));
  std::vector<Tensor> rows;
  // With this bound no power of z overflows. The levels with a weight have about the same |z|, so if it is too large,
  // it is clamped for all of them alike.
  const double bound = x.scalar_type() == at::kDouble ? 1e50 : 1e6;
  append_jets(rows, f.slope(), 3, near.clamp(-bound, bound), weight);
  return {at::stack(rows, -2), -(smallest * smallest).squeeze(-1)};
}

Tensor is_in_wide_gap(Smearing smearing, const Tensor& x) {
  const auto at = recorded_constant(x);
  const auto missing = tail(GaussianSmearing(smearing), at, at > 0).abs().sum(-1);
  return missing <= tolerances::wide_gap * tolerances::eps(x.scalar_type()) * at::ones_like(at).sum(-1);
}

Tensor smeared_values(Smearing smearing, const Tensor& x) {
  const GaussianSmearing f(smearing);
  return occupation(f, Argument(f, x));
}

Tensor smeared_jets(Smearing smearing, const Tensor& x, int64_t order) {
  if (smearing != Smearing::fermi) {
    return jets_of(GaussianSmearing(smearing), x, order);
  }
  const auto f = at::sigmoid(-x);
  const auto rest = at::sigmoid(x);
  return fermi_jets(f, f * rest, rest - f, order);
}

Tensor smeared_first_differences(Smearing smearing, const Tensor& a, const Tensor& b) {
  const GaussianSmearing f(smearing);
  const auto gap = b - a;
  const auto middle = a / 2 + b / 2;
  auto mean = at::zeros_like(gap);
  const auto slope = f.slope();
  for (const auto& [node, weight] : gauss_legendre) {
    for (const auto side : {-node, node}) {
      mean = mean - Argument(f, middle + gap * (side / 2))(slope) * (weight / 2);
    }
  }
  const auto is_above = middle + f.shift > 0;
  const auto difference = tail(f, b, is_above) - tail(f, a, is_above);
  const auto is_near = gap * (1 + (middle + f.shift).abs()) <= 1;
  const auto safe_gap = at::where(is_near, at::ones_like(gap), gap);
  return at::where(is_near, mean, difference / safe_gap);
}

} // namespace spectralgrad::math
