#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// The shape of the occupations f(x), which fall from 1 to 0 around mu, x = (epsilon - mu)/kT. `density_matrix` has the
/// formulas.
enum class Smearing { fermi, gaussian, methfessel_paxton, cold };

/// Arguments of `density_matrix`. Quantities are real, in consistent units of energy, and broadcast to the batch (*).
struct DensityMatrixOptions {
  /// Exactly one of the two: the number of electrons, 0 <= electrons <= spin*n, or their chemical potential.
  std::optional<at::Tensor> electrons = std::nullopt;
  std::optional<at::Tensor> mu = std::nullopt;
  /// The temperature times Boltzmann's constant, > 0; nullopt for zero.
  std::optional<at::Tensor> kT = std::nullopt;
  /// S (*, n, n) of the basis, positive definite: H C = S C epsilon, C^H S C = 1.
  std::optional<at::Tensor> overlap = std::nullopt;
  /// The number of electrons that an orbital holds.
  double spin = 2;
  /// At kT = 0 all smearings are the same.
  Smearing smearing = Smearing::fermi;
};

struct DensityMatrix {
  at::Tensor density_matrix; // D = spin C f C^H (*, n, n)
  at::Tensor mu; // (*)
  at::Tensor energy; // tr(D H), (*)
  at::Tensor entropy; // spin sum s, in units of Boltzmann's constant, (*)
  at::Tensor free_energy; // energy - kT entropy, (*)
  at::Tensor energy_weighted_density_matrix; // spin C epsilon f C^H (*, n, n)
};

/// Returns the one-particle density matrix D = spin f((H - mu)/kT) of a symmetric or Hermitian `H` (*, n, n). Only the
/// lower triangle of H is read. The first three derivatives with respect to H, the overlap, electrons or mu, and kT are
/// exact at degenerate levels. At a fixed number of electrons, mu is solved to the last digits and differentiated
/// implicitly.
///
/// The smearing chooses the occupations f(x), x = (epsilon - mu)/kT. The entropies s have s' = x f', so that D is the
/// gradient of the free energy:
/// - fermi: f = 1/(1 + e^x), s = -(f ln f + (1 - f) ln(1 - f)). Mermin (1965), Phys. Rev. 137, A1441.
/// - gaussian: f = erfc(x)/2, s = e^(-x^2)/(2 sqrt(pi)).
/// - methfessel_paxton, of order 1: f = erfc(x)/2 - x e^(-x^2)/(2 sqrt(pi)), s = (1 - 2x^2) e^(-x^2)/(4 sqrt(pi)).
///   Methfessel and Paxton (1989), Phys. Rev. B 40, 3616.
/// - cold: f = erfc(z)/2 + e^(-z^2)/sqrt(2 pi), s = z e^(-z^2)/sqrt(2 pi), z = x + 1/sqrt(2). Marzari, Vanderbilt, De
///   Vita and Payne (1999), Phys. Rev. Lett. 82, 3296.
///
/// Occupations of methfessel_paxton and cold may be below 0 or above 1, and several mu may give the same number of
/// electrons. The function takes the mu nearest to that of the Gaussian smearing. A cold smearing has no such mu inside
/// a gap. If the Gaussian mu gives the number of electrons to rounding, as in every wide gap, the function takes this
/// mu and its derivatives.
///
/// At zero temperature D is spin times the projector onto the filled levels. mu is then the middle of the gap and has
/// no derivative. All copies of a degenerate level that is partly filled get the same fraction; a level at a given `mu`
/// is half filled. Derivatives are those along perturbations that do not split such a level. A loss or a perturbation
/// that distinguishes its copies has no derivative there: the function warns, or raises under `Checks::raise`.
///
/// Raises the errors of `eigh` for H and overlap, `c10::LinAlgError` if the overlap is not positive definite, and
/// `c10::ValueError` unless exactly one of electrons and mu is given and all numbers are in their ranges.
///
/// ```
/// auto H = torch::tensor({{0., -1.}, {-1., 0.}}).requires_grad_();
/// auto D = spectralgrad::density_matrix(H, {.electrons = torch::tensor(2.), .kT = torch::tensor(0.1)});
/// ```
SPECTRALGRAD_API at::Tensor density_matrix(const at::Tensor& H, const DensityMatrixOptions& options);

/// Returns the density matrix and all quantities that belong to it.
SPECTRALGRAD_API DensityMatrix density_matrix_full(const at::Tensor& H, const DensityMatrixOptions& options);

} // namespace spectralgrad
