#include "ops/chemical_potential_derivatives.h"

#include "autograd/constant.h"
#include "math/smearing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::recorded_constant;

Tensor as_matrix(const Tensor& x) {
  return x.unsqueeze(-1).unsqueeze(-1);
}

/// Re tr(M^H N), (*).
Tensor pairing(const Tensor& M, const Tensor& N) {
  return at::real(M.conj() * N).sum(at::IntArrayRef{-2, -1});
}

struct Response {
  Tensor X;
  Tensor Q;
  Tensor trace; // of Q, in the same units
  Tensor in_filling; // d_mu/dN

  explicit Response(const ChemicalPotential& at) {
    const ReducedLevels levels(at.pairs, at.mu, at.kT);
    const auto slope = occupation_slope(at.smearing, levels.x);
    auto jets = levels.in_units(slope.jets);
    in_filling = at.kT / at::exp(slope.log_scale) / ops::spectral_trace(levels.pairs, jets);
    if (at.smearing == Smearing::cold) {
      // In a wide gap mu is that of the Gaussian smearing, and so is its derivative.
      const auto in_wide_gap = is_in_wide_gap(at.smearing, levels.x).unsqueeze(-1).unsqueeze(-1);
      jets = at::where(in_wide_gap, levels.in_units(occupation_slope(Smearing::gaussian, levels.x).jets), jets);
    }
    X = (at.pairs.A - at::diag_embed(at::ones_like(levels.x)) * as_matrix(at.mu)) / as_matrix(at.kT);
    Q = ops::spectral_function({"jets", {}, jets}, levels.pairs);
    trace = ops::spectral_trace(levels.pairs, jets);
  }
};

} // namespace

ReducedLevels::ReducedLevels(const ops::Eigenpairs& given, const Tensor& mu, const Tensor& kT)
    : x((given.eigenvalues - mu.unsqueeze(-1)) / kT.unsqueeze(-1)) {
  const auto temperature = as_matrix(recorded_constant(kT));
  const auto identity = at::diag_embed(at::ones_like(given.eigenvalues));
  pairs = {
      (given.A - identity * as_matrix(recorded_constant(mu))) / temperature,
      recorded_constant(x),
      given.eigenvectors};
  unit = temperature / as_matrix(kT);
}

Tensor ReducedLevels::in_units(const Tensor& jets) const {
  const auto orders = at::ones_like(jets.slice(-1, 0, 1)).cumsum(-2) - 1;
  return jets * unit.pow(orders);
}

std::array<Tensor, 3> chemical_potential_vjp(
    const Tensor& cotangent,
    const ChemicalPotential& at,
    const std::array<bool, 3>& needed) {
  const Response response(at);
  const auto weight = cotangent / response.trace;
  std::array<Tensor, 3> result;
  if (needed[0]) {
    result[0] = as_matrix(weight) * response.Q;
  }
  if (needed[1]) {
    result[1] = cotangent * response.in_filling;
  }
  if (needed[2]) {
    result[2] = -weight * pairing(response.Q, response.X);
  }
  return result;
}

Tensor chemical_potential_jvp(const std::array<Tensor, 3>& tangents, const ChemicalPotential& at) {
  const Response response(at);
  Tensor sum;
  const auto add = [&](const Tensor& term) {
    sum = sum.defined() ? sum + term : term;
  };
  if (tangents[0].defined()) {
    add(pairing(response.Q, tangents[0]) / response.trace);
  }
  if (tangents[1].defined()) {
    add(response.in_filling * tangents[1]);
  }
  if (tangents[2].defined()) {
    add(-pairing(response.Q, response.X) * tangents[2] / response.trace);
  }
  return sum;
}

} // namespace spectralgrad::math
