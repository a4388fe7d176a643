#include "derivatives/chemical_potential.h"

#include "derivatives/constant.h"
#include "derivatives/fermi.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>

namespace spectralgrad::derivatives {
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
    const auto pairs = reduced(at.pairs, at.mu, at.kT);
    const auto slope = fermi_slope(pairs.eigenvalues);
    X = pairs.A;
    Q = ops::spectral_function({"jets", {}, slope.jets}, pairs);
    trace = ops::spectral_trace(pairs, slope.jets);
    unit = at::exp(slope.log_scale);
  }
};

} // namespace

ops::Eigenpairs reduced(const ops::Eigenpairs& pairs, const Tensor& mu, const Tensor& kT) {
  const auto identity = at::diag_embed(at::ones_like(pairs.eigenvalues));
  const auto x = (pairs.eigenvalues - mu.unsqueeze(-1)) / kT.unsqueeze(-1);
  return {(pairs.A - identity * as_matrix(mu)) / as_matrix(kT), constant(x), pairs.eigenvectors};
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
  const auto add = [&](const Tensor& term) { sum = sum.defined() ? sum + term : term; };
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

} // namespace spectralgrad::derivatives
