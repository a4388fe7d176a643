#include "math/fermi.h"

#include "autograd/constant.h"
#include "core/tolerances.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <limits>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::recorded_constant;

/// ln f(x).
Tensor log_fermi(const Tensor& x) {
  return at::log_sigmoid(-x);
}

} // namespace

Tensor fermi(const Tensor& x) {
  // The derivative of a sigmoid is s (1 - s), which is nothing where s is rounded to 1.
  return at::where(x < 0, 1 - at::sigmoid(x), at::sigmoid(-x));
}

Tensor fermi_jets(const Tensor& x) {
  const auto f = fermi(x);
  const auto u = f * fermi(-x);
  const auto v = fermi(-x) - f;
  return at::stack({f, -u, u * v, u * (2 * u - v * v), u * v * (v * v - 8 * u)}, -2);
}

Tensor entropy_jets(const Tensor& x) {
  const auto f = fermi(x);
  const auto rest = fermi(-x);
  const auto u = f * rest;
  const auto v = rest - f;
  const auto w = u * v;
  return at::stack(
      {-(f * log_fermi(x) + rest * log_fermi(-x)),
       -x * u,
       x * w - u,
       2 * w + x * u * (2 * u - v * v),
       u * (6 * u - 3 * v * v) + x * w * (v * v - 8 * u)},
      -2);
}

FermiSlope fermi_slope(const Tensor& x) {
  const auto logarithm = log_fermi(x) + log_fermi(-x);
  const auto at_x = recorded_constant(logarithm);
  const auto scale = x.sym_size(-1) == 0 ? at_x.sum({-1}, /*keepdim=*/true) : at_x.amax({-1}, /*keepdim=*/true);
  const auto scaled = at::exp(logarithm - scale);
  const auto u = at::exp(logarithm);
  const auto v = fermi(-x) - fermi(x);
  return {
      at::stack({scaled, -scaled * v, scaled * (v * v - 2 * u), scaled * v * (8 * u - v * v)}, -2),
      scale.squeeze(-1)};
}

Tensor chemical_potential(const Tensor& eigenvalues, const Tensor& filling, const Tensor& kT) {
  const auto n = eigenvalues.size(-1);
  if (filling.numel() == 0) {
    return at::empty_like(filling, at::MemoryFormat::Contiguous);
  }
  const auto levels = eigenvalues.to(at::kDouble);
  const auto wanted = filling.to(at::kDouble).unsqueeze(-1);
  const auto temperature = kT.to(at::kDouble).unsqueeze(-1);
  // Electrons above and holes below a whole number of filled levels, as logarithms: small numbers are never the difference of
  // large ones.
  const auto whole = wanted.round();
  const auto excess = wanted - whole;
  const auto is_below = at::arange(n, levels.options()) < whole;
  const auto none = -std::numeric_limits<double>::infinity();
  const auto balance = [&](const Tensor& mu) {
    const auto x = (levels - mu) / temperature;
    const auto electrons = at::where(is_below, none, log_fermi(x));
    const auto holes = at::where(is_below, log_fermi(-x), none);
    const auto log_electrons = at::logsumexp(at::cat({electrons, (-excess).clamp_min(0).log()}, -1), -1, true);
    const auto log_holes = at::logsumexp(at::cat({holes, excess.clamp_min(0).log()}, -1), -1, true);
    // d/dmu of either logarithm: the mean of the other occupation.
    const auto slope =
        (at::exp(electrons - log_electrons) * fermi(-x) + at::exp(holes - log_holes) * fermi(x)).sum(-1, true);
    return std::pair{log_electrons - log_holes, slope / temperature};
  };
  const auto margin = temperature * ((n / at::minimum(wanted, n - wanted)).log() + 2);
  auto low = levels.slice(-1, 0, 1) - margin;
  auto high = levels.slice(-1, n - 1, n) + margin;
  auto mu = (low + high) / 2;
  // Newton's method, kept between bounds that close in.
  for (int iteration = 0; iteration < tolerances::largest_number_of_iterations; ++iteration) {
    const auto [value, slope] = balance(mu);
    low = at::where(value <= 0, mu, low);
    high = at::where(value >= 0, mu, high);
    const auto newton = mu - value / slope;
    const auto inside = (newton > low).logical_and(newton < high);
    const auto next = at::where(value == 0, mu, at::where(inside, newton, (low + high) / 2));
    const auto settled =
        (next == mu).logical_or((high - low) <= tolerances::eps(at::kDouble) * at::maximum(low.abs(), high.abs()));
    mu = next;
    if (settled.logical_or(mu.isnan()).all().item<bool>()) {
      break;
    }
  }
  return mu.squeeze(-1).to(eigenvalues.scalar_type());
}

} // namespace spectralgrad::math
