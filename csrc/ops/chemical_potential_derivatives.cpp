#include "ops/chemical_potential_derivatives.h"

#include "autograd/constant.h"
#include "math/fermi.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;

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
  Tensor unit;

  explicit Response(const ChemicalPotential& at) {
    const ReducedLevels levels(at.pairs, at.mu, at.kT);
    const auto slope = fermi_slope(levels.x);
    const auto jets = levels.in_units(slope.jets);
    X = (at.pairs.A - at::diag_embed(at::ones_like(levels.x)) * as_matrix(at.mu)) / as_matrix(at.kT);
    Q = ops::spectral_function({"jets", {}, jets}, levels.pairs);
    trace = ops::spectral_trace(levels.pairs, jets);
    unit = at::exp(slope.log_scale);
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
    result[1] = weight * at.kT / response.unit;
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
    add(pairing(response.Q, tangents[0]));
  }
  if (tangents[1].defined()) {
    add(at.kT / response.unit * tangents[1]);
  }
  if (tangents[2].defined()) {
    add(-pairing(response.Q, response.X) * tangents[2]);
  }
  return sum.defined() ? sum / response.trace : sum;
}

} // namespace spectralgrad::math
