#include "ops/chemical_potential.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "math/fermi_level.h"
#include "math/smearing.h"
#include "ops/spectral_function.h"
#include "ops/spectral_trace.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;

Tensor chemical_potential_kernel(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor&,
    const Tensor& filling,
    const Tensor& kT,
    double spin,
    std::string_view smearing) {
  const auto n = eigenvalues.size(-1);
  if (n == 0) {
    return filling.clone(); // whatever it is: no electrons, no levels
  }
  const auto outside = (filling > 0).logical_and(filling < n).logical_not();
  TORCH_CHECK_VALUE(
      !outside.any().item<bool>(),
      "spectralgrad.density_matrix: Expected electrons at kT > 0, where levels are neither all empty nor all full, to "
      "be between 0 and ",
      static_cast<double>(n) * spin,
      ", both excluded, but got ",
      filling.masked_select(outside)[0].item<double>() * spin);
  return math::fermi_level(checked_smearing(smearing), eigenvalues, filling, kT);
}

Tensor chemical_potential_meta(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    double,
    std::string_view) {
  const auto shape = eigenvalues.sym_sizes();
  return at::empty_symint(shape.slice(0, shape.size() - 1), eigenvalues.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::chemical_potential", chemical_potential_meta> chemical_potential_op;

Tensor as_matrix(const Tensor& x) {
  return x.unsqueeze(-1).unsqueeze(-1);
}

/// Re tr(M^H N), (*).
Tensor pairing(const Tensor& M, const Tensor& N) {
  return at::real(M.conj() * N).sum(at::IntArrayRef{-2, -1});
}

// Derivatives of mu(A, N, kT), which tr f((A - mu)/kT) = N defines, where f are the occupations of a smearing. By the
// implicit function theorem, with X = (A - mu)/kT and Q = u(X), u = -f',
//     d_mu = [tr(Q dA) - tr(Q X) dkT + kT dN] / tr Q.
// Q and tr Q, both in the unit of math/smearing.h, are functions of a matrix, too. So the formula is differentiable
// tensor code, exact at degenerate eigenvalues.
struct Response {
  Tensor X;
  Tensor Q;
  Tensor trace; // of Q, in the same units
  Tensor in_filling; // d_mu/dN

  Response(const Eigenpairs& given, const Tensor& kT, const Tensor& mu, Smearing smearing) {
    const ReducedLevels levels(given, mu, kT);
    const auto slope = math::occupation_slope(smearing, levels.x);
    auto jets = levels.in_units(slope.jets);
    in_filling = kT / at::exp(slope.log_scale) / spectral_trace(levels.pairs, jets);
    if (smearing == Smearing::cold) {
      // In a wide gap mu is that of the Gaussian smearing, and so is its derivative.
      const auto in_wide_gap = math::is_in_wide_gap(smearing, levels.x).unsqueeze(-1).unsqueeze(-1);
      jets = at::where(in_wide_gap, levels.in_units(math::occupation_slope(Smearing::gaussian, levels.x).jets), jets);
    }
    X = (given.A - at::diag_embed(at::ones_like(levels.x)) * as_matrix(mu)) / as_matrix(kT);
    Q = spectral_function({"jets", {}, jets}, levels.pairs);
    trace = spectral_trace(levels.pairs, jets);
  }
};

/// Inputs: A, eigenvalues, eigenvectors, filling, kT.
struct ChemicalPotential {
  static constexpr const char* name = "ChemicalPotential";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;
  struct Options {
    double spin;
    std::string smearing;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["spin"] = spin;
      dictionary["smearing"] = smearing;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("spin").toDouble(), dictionary.at("smearing").toStringRef()};
    }
  };

  static variable_list forward(const variable_list& x, const Options& options) {
    return {chemical_potential_op.call(x[0], x[1], x[2], x[3], x[4], options.spin, options.smearing)};
  }

  static Response response(const autograd::Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    return {{x[0], x[1], x[2]}, x[4], saved.outputs[0], checked_smearing(options.smearing)};
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
    variable_list result(5);
    const auto& g = cotangents[0];
    if (!g.defined()) {
      return result;
    }
    const auto at = response(saved, options);
    const auto weight = g / at.trace;
    if (saved.needed[0]) {
      result[0] = as_matrix(weight) * at.Q;
    }
    if (saved.needed[3]) {
      result[3] = g * at.in_filling;
    }
    if (saved.needed[4]) {
      result[4] = -weight * pairing(at.Q, at.X);
    }
    return result;
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options) {
    const auto at = response(saved, options);
    Tensor sum;
    const auto add = [&](const Tensor& term) {
      sum = sum.defined() ? sum + term : term;
    };
    if (tangents[0].defined()) {
      add(pairing(at.Q, tangents[0]) / at.trace);
    }
    if (tangents[3].defined()) {
      add(at.in_filling * tangents[3]);
    }
    if (tangents[4].defined()) {
      add(-pairing(at.Q, at.X) * tangents[4] / at.trace);
    }
    return {sum};
  }
};

Tensor chemical_potential_autograd(
    const Tensor& A,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& filling,
    const Tensor& kT,
    double spin,
    std::string_view smearing) {
  return autograd::differentiable<ChemicalPotential>(
      {A, eigenvalues, eigenvectors, filling, kT},
      {spin, std::string(smearing)})[0];
}

} // namespace

ReducedLevels::ReducedLevels(const Eigenpairs& given, const Tensor& mu, const Tensor& kT)
    : x((given.eigenvalues - mu.unsqueeze(-1)) / kT.unsqueeze(-1)) {
  const auto temperature = as_matrix(autograd::recorded_constant(kT));
  const auto identity = at::diag_embed(at::ones_like(given.eigenvalues));
  pairs = {
      (given.A - identity * as_matrix(autograd::recorded_constant(mu))) / temperature,
      autograd::recorded_constant(x),
      given.eigenvectors};
  unit = temperature / as_matrix(kT);
}

Tensor ReducedLevels::in_units(const Tensor& jets) const {
  const auto orders = at::ones_like(jets.slice(-1, 0, 1)).cumsum(-2) - 1;
  return jets * unit.pow(orders);
}

Smearing checked_smearing(std::string_view name) {
  const auto smearing = math::smearing_of(name);
  TORCH_CHECK_VALUE(
      smearing.has_value(),
      "spectralgrad.density_matrix: Expected smearing to be fermi, gaussian, methfessel-paxton or cold, but got ",
      name);
  return *smearing;
}

Tensor chemical_potential(
    const Eigenpairs& pairs,
    const Tensor& filling,
    const Tensor& kT,
    double spin,
    Smearing smearing) {
  return chemical_potential_op
      .call(pairs.A, pairs.eigenvalues, pairs.eigenvectors, filling, kT, spin, math::name_of(smearing));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "chemical_potential(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor filling, Tensor kT, float spin, "
      "str smearing) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("chemical_potential", chemical_potential_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("chemical_potential", chemical_potential_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("chemical_potential", chemical_potential_autograd);
}

} // namespace spectralgrad::ops
