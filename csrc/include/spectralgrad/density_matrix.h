#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// What is known of the electrons. Quantities are real, in consistent units of energy, and of a shape that broadcasts to the
/// batch (*).
struct DensityMatrixOptions {
  /// One of the two: how many electrons there are, 0 <= electrons <= spin*n, or their chemical potential.
  std::optional<at::Tensor> electrons = std::nullopt;
  std::optional<at::Tensor> mu = std::nullopt;
  /// The temperature times Boltzmann's constant, > 0; nullopt for zero.
  std::optional<at::Tensor> kT = std::nullopt;
  /// S (*, n, n) of the basis, positive definite: H C = S C epsilon, C^H S C = 1.
  std::optional<at::Tensor> overlap = std::nullopt;
  /// How many electrons an orbital holds.
  double spin = 2;
};

struct DensityMatrix {
  at::Tensor density_matrix; // D = spin C f C^H (*, n, n)
  at::Tensor mu; // (*)
  at::Tensor energy; // tr(D H), (*)
  at::Tensor entropy; // -spin sum f ln f + (1 - f) ln(1 - f), in units of Boltzmann's constant, (*)
  at::Tensor free_energy; // energy - kT entropy, (*)
  at::Tensor energy_weighted_density_matrix; // spin C epsilon f C^H (*, n, n)
};

/// The one-particle density matrix D = spin f((H - mu)/kT), f(x) = 1/(1 + e^x) the Fermi function (Mermin, 1965), of
/// symmetric or Hermitian `H` (*, n, n), only whose lower triangle is read. Derivatives in H, the overlap, electrons or mu, and
/// kT are exact where levels meet, twice; mu at a fixed number of electrons is solved to the last digits and differentiated
/// implicitly.
///
/// At zero temperature D is spin times the projector onto the filled levels, a single level filled in part if need be; mu is
/// then the middle of the gap, and not differentiable. With a `mu` at a single level that one is half filled.
///
/// Raises as `eigh`, of H and overlap; `c10::LinAlgError` too where the overlap is not positive definite or, at zero
/// temperature, the Fermi level cuts a repeated level; `c10::ValueError` where not just one of electrons and mu is
/// given, or a number is out of its range.
///
/// ```
/// auto H = torch::tensor({{0., -1.}, {-1., 0.}}).requires_grad_();
/// auto D = spectralgrad::density_matrix(H, {.electrons = torch::tensor(2.), .kT = torch::tensor(0.1)});
/// ```
SPECTRALGRAD_API at::Tensor density_matrix(const at::Tensor& H, const DensityMatrixOptions& options);

/// All of it.
SPECTRALGRAD_API DensityMatrix density_matrix_full(const at::Tensor& H, const DensityMatrixOptions& options);

} // namespace spectralgrad
