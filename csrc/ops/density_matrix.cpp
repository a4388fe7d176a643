#include <spectralgrad/density_matrix.h>

#include "autograd/constant.h"
#include "autograd/no_autocast.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"
#include "math/smearing.h"
#include "ops/arguments.h"
#include "ops/chemical_potential.h"
#include "ops/fill_levels.h"
#include "ops/hermitian.h"
#include "ops/orthonormal_basis.h"
#include "ops/quantity.h"
#include "ops/spectral_function.h"
#include "ops/spectral_trace.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/special_xlog1py.h>
#include <ATen/ops/where.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;

constexpr auto density_matrix_name = "density_matrix";

struct GroundState {
  Tensor filled; // the occupations, constants
  Tensor mu; // the middle of the gap
  /// Additional electrons (*): zero, with the derivative of the number of electrons. May be undefined.
  Tensor added;
  Tensor share; // the fraction of them that each level gets
};

/// The occupations at zero temperature.
GroundState ground_state(
    const Tensor& eigenvalues,
    const std::optional<Tensor>& electrons,
    const Tensor& mu,
    const Tensor& amplification,
    double spin) {
  const bool empty = eigenvalues.sym_size(-1) == 0;
  if (mu.defined()) {
    // A level at mu is half filled.
    const auto distance = eigenvalues - autograd::recorded_constant(mu).unsqueeze(-1);
    const auto same = tolerances::close_gap * tolerances::eps(eigenvalues.scalar_type()) *
        (empty ? eigenvalues : eigenvalues.abs().amax({-1}, true)) *
        (amplification.defined() ? amplification.unsqueeze(-1) : at::ones_like(eigenvalues));
    const auto filling =
        ((distance < -same).to(eigenvalues.dtype()) + (distance <= same).to(eigenvalues.dtype())).sum(-1) * 0.5;
    return {
        ops::fill_levels(eigenvalues, filling, amplification, density_matrix_name, "mu", spin, /*share=*/true),
        mu,
        {},
        {}};
  }
  const auto number = autograd::recorded_constant(*electrons);
  const auto filled = ops::fill_levels(
      eigenvalues,
      number / spin,
      amplification,
      density_matrix_name,
      "electrons",
      spin,
      /*share=*/true);
  // Additional electrons are shared equally by the partly filled levels.
  const auto partly = (filled > 0).logical_and(filled < 1).to(filled.dtype());
  const auto share = partly / partly.sum({-1}, /*keepdim=*/true).clamp_min(1);
  const auto added = *electrons - number;
  if (empty) {
    return {filled, at::zeros_like(*electrons), added, share};
  }
  const auto infinity = std::numeric_limits<double>::infinity();
  const auto homo = at::where(filled > 0, eigenvalues, -infinity).amax(-1);
  const auto lumo = at::where(filled < 1, eigenvalues, infinity).amin(-1);
  return {filled, (homo + lumo) / 2, added, share};
}

DensityMatrix compute(const Tensor& matrix, const DensityMatrixOptions& given, bool full) {
  const autograd::NoAutocast no_autocast;
  const auto& electrons = given.electrons;
  const double spin = given.spin;
  TORCH_CHECK_VALUE(
      electrons.has_value() != given.mu.has_value(),
      "spectralgrad.density_matrix: Expected one of electrons and mu, but got ",
      electrons ? "both" : "neither");
  TORCH_CHECK_VALUE(
      spin > 0 && std::isfinite(spin),
      "spectralgrad.density_matrix: Expected spin to be positive and finite, but got ",
      spin);
  Tensor given_mu;
  if (given.mu) {
    given_mu = ops::quantity(*given.mu, density_matrix_name, "mu", /*positive=*/false);
  }
  const auto H = ops::hermitian(matrix, density_matrix_name, "H");
  const ops::OrthonormalBasis basis(given.overlap);
  const auto reduced = basis.reduce(H);
  const auto pairs = ops::eigenpairs(density_matrix_name, reduced);

  DensityMatrix result;
  Tensor occupied; // spin f, in the orthonormal basis
  Tensor kT;
  if (given.kT) {
    kT = ops::quantity(*given.kT, density_matrix_name, "kT", /*positive=*/true);
    result.mu = electrons ? ops::chemical_potential(pairs, *electrons / spin, kT, spin, given.smearing) : given_mu;
    const ops::ReducedLevels levels(pairs, result.mu, kT);
    const auto jets = levels.in_units(math::occupation_jets(given.smearing, levels.x));
    occupied = spin * ops::spectral_function({math::name_of(given.smearing), {}, jets}, levels.pairs);
    if (full) {
      result.entropy = spin *
          ops::spectral_trace(levels.pairs, levels.in_units(math::entropy_jets(given.smearing, levels.x)));
    }
  } else {
    const auto state = ground_state(pairs.eigenvalues, electrons, given_mu, basis.amplification(), spin);
    result.mu = state.mu;
    const auto steps = [&](const Tensor& f) {
      return ops::spectral_function({"steps", {}, f.unsqueeze(-2)}, pairs);
    };
    occupied = spin * steps(state.filled);
    auto f = state.filled;
    if (state.added.defined() && (autograd::is_differentiated(*electrons) || at::isTensorSubclassLike(*electrons))) {
      occupied = occupied + state.added.unsqueeze(-1).unsqueeze(-1) * steps(state.share);
      f = f + state.share * (state.added / spin).unsqueeze(-1);
    }
    if (full) {
      result.entropy = -spin * (at::xlogy(f, f) + at::special_xlog1py(1 - f, -f)).sum(-1);
    }
  }
  result.density_matrix = basis.restore(occupied);
  if (full) {
    const auto product = at::matmul(occupied, reduced);
    result.energy = at::real(product.diagonal(0, -2, -1)).sum(-1);
    result.free_energy = given.kT ? result.energy - kT * result.entropy : result.energy.clone();
    result.energy_weighted_density_matrix = basis.restore(math::hermitian_part(product));
  }
  return result;
}

/// Broadcasts all arguments: matrices to (*, n, n), quantities to (*), all in the precision of H.
struct Broadcast {
  Tensor H;
  DensityMatrixOptions options;

  Broadcast(Tensor matrix, DensityMatrixOptions given) : H(std::move(matrix)), options(std::move(given)) {
    ops::check_hermitian_arguments(density_matrix_name, H, "L", "H");
    auto batch = H.sizes().slice(0, H.dim() - 2).vec();
    if (options.overlap) {
      const auto& S = *options.overlap;
      ops::check_hermitian_arguments(density_matrix_name, S, "L", "overlap");
      TORCH_CHECK(
          S.size(-1) == H.size(-1) && S.scalar_type() == H.scalar_type(),
          "spectralgrad.density_matrix: Expected overlap to be of the size and dtype of H, but they are ",
          S.size(-1),
          " and ",
          H.size(-1),
          ", ",
          S.dtype(),
          " and ",
          H.dtype());
      batch = at::infer_size(batch, S.sizes().slice(0, S.dim() - 2));
    }
    const std::array quantities{&options.electrons, &options.mu, &options.kT};
    for (auto* x : quantities) {
      if (*x) {
        batch = at::infer_size(batch, (*x)->sizes());
      }
    }
    for (auto* x : quantities) {
      if (*x) {
        *x = (*x)->to(H.options().dtype(c10::toRealValueType(H.scalar_type()))).expand(batch);
      }
    }
    batch.insert(batch.end(), {H.size(-1), H.size(-1)});
    H = H.expand(batch);
    if (options.overlap) {
      options.overlap = options.overlap->expand(batch);
    }
  }
};

using OptionalQuantity = std::optional<Tensor>;

template <bool full>
auto density_matrix_composite(
    const Tensor& H,
    const OptionalQuantity& electrons,
    const OptionalQuantity& mu,
    const OptionalQuantity& kT,
    const OptionalQuantity& overlap,
    double spin,
    std::string_view smearing) {
  auto all = compute(H, {electrons, mu, kT, overlap, spin, ops::checked_smearing(smearing)}, full);
  if constexpr (full) {
    return std::tuple(
        std::move(all.density_matrix),
        std::move(all.mu),
        std::move(all.energy),
        std::move(all.entropy),
        std::move(all.free_energy),
        std::move(all.energy_weighted_density_matrix));
  } else {
    return std::move(all.density_matrix);
  }
}

} // namespace

Tensor density_matrix(const Tensor& H, const DensityMatrixOptions& options) {
  const Broadcast all(H, options);
  return compute(all.H, all.options, /*full=*/false).density_matrix;
}

DensityMatrix density_matrix_full(const Tensor& H, const DensityMatrixOptions& options) {
  const Broadcast all(H, options);
  return compute(all.H, all.options, /*full=*/true);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "density_matrix(Tensor H, Tensor? electrons, Tensor? mu, Tensor? kT, Tensor? overlap, float spin, "
      "str smearing=\"fermi\") -> Tensor");
  library.def(
      "density_matrix_full(Tensor H, Tensor? electrons, Tensor? mu, Tensor? kT, Tensor? overlap, float spin, "
      "str smearing=\"fermi\") -> "
      "(Tensor density_matrix, Tensor mu, Tensor energy, Tensor entropy, Tensor free_energy, "
      "Tensor energy_weighted_density_matrix)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("density_matrix", density_matrix_composite<false>);
  library.impl("density_matrix_full", density_matrix_composite<true>);
}

} // namespace spectralgrad
