#include "ops/chemical_potential.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "math/fermi_level.h"
#include "math/smearing.h"
#include "ops/chemical_potential_derivatives.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

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
      "spectralgrad.density_matrix: Expected electrons at kT > 0, where levels are neither all empty nor all full, to be between "
      "0 and ",
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

  static autograd::variable_list forward(const autograd::variable_list& x, const Options& options) {
    return {chemical_potential_op.call(x[0], x[1], x[2], x[3], x[4], options.spin, options.smearing)};
  }

  static math::ChemicalPotential point(const autograd::Saved& saved, const Options& options) {
    const auto& x = saved.inputs;
    return {{x[0], x[1], x[2]}, x[4], saved.outputs[0], checked_smearing(options.smearing)};
  }

  static autograd::variable_list vjp(
      const autograd::variable_list& cotangents,
      const autograd::Saved& saved,
      const Options& options) {
    if (!cotangents[0].defined()) {
      return autograd::variable_list(5);
    }
    auto [A, filling, kT] = math::chemical_potential_vjp(
        cotangents[0],
        point(saved, options),
        {saved.needed[0], saved.needed[3], saved.needed[4]});
    return {std::move(A), Tensor(), Tensor(), std::move(filling), std::move(kT)};
  }

  static autograd::variable_list jvp(
      const autograd::variable_list& tangents,
      const autograd::Saved& saved,
      const Options& options) {
    return {math::chemical_potential_jvp({tangents[0], tangents[3], tangents[4]}, point(saved, options))};
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
      "chemical_potential(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor filling, Tensor kT, float spin, str smearing) -> Tensor");
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
