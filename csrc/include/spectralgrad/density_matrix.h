#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// How the occupations fall from 1 to 0 about mu, as a function of x = (epsilon - mu)/kT; the formulas are at `density_matrix`.
enum class Smearing { fermi, gaussian, methfessel_paxton, cold };

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
  /// At kT = 0 all are the same.
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

/// The one-particle density matrix D = spin f((H - mu)/kT) of symmetric or Hermitian `H` (*, n, n), of which only the lower
/// triangle is read. Derivatives in H, the overlap, electrons or mu, and kT are exact where levels meet, three times. A mu at a
/// fixed number of electrons is solved to the last digits and differentiated implicitly.
///
/// Occupations f of x = (epsilon - mu)/kT, and entropies s with s' = x f', so that the free energy has the gradient D:
/// - fermi: f = 1/(1 + e^x), s = -(f ln f + (1 - f) ln(1 - f)). Mermin (1965), Phys. Rev. 137, A1441.
/// - gaussian: f = erfc(x)/2, s = e^(-x^2)/(2 sqrt(pi)).
/// - methfessel_paxton, of order 1: f = erfc(x)/2 - x e^(-x^2)/(2 sqrt(pi)), s = (1 - 2x^2) e^(-x^2)/(4 sqrt(pi)). Methfessel
///   and Paxton (1989), Phys. Rev. B 40, 3616.
/// - cold: f = erfc(z)/2 + e^(-z^2)/sqrt(2 pi), s = z e^(-z^2)/sqrt(2 pi), z = x + 1/sqrt(2). Marzari, Vanderbilt, De Vita and
///   Payne (1999), Phys. Rev. Lett. 82, 3296.
///
/// The last two may be less than 0 or more than 1, and several mu may hold the same number of electrons. Then mu is the one
/// nearest to that of the Gaussian smearing. A cold smearing has no such mu inside a gap: where the Gaussian one holds the
/// electrons to rounding, as in every wide gap, that is taken, and it moves with H and kT as that does.
///
/// At zero temperature D is spin times the projector onto the filled levels; mu is then the middle of the gap, and not
/// differentiable. A level that is filled in part is filled in equal fractions, whatever its multiplicity; it is half filled if it
/// is at a `mu` that is given. Derivatives are those along perturbations that do not split such a level. A loss or a perturbation
/// that looks inside a degenerate one has no derivative there: a warning says so, or an error under `Checks::raise`.
///
/// Raises as `eigh`, of H and overlap; `c10::LinAlgError` too where the overlap is not positive definite; `c10::ValueError`
/// where not just one of electrons and mu is given, or a number is out of its range.
///
/// ```
/// auto H = torch::tensor({{0., -1.}, {-1., 0.}}).requires_grad_();
/// auto D = spectralgrad::density_matrix(H, {.electrons = torch::tensor(2.), .kT = torch::tensor(0.1)});
/// ```
SPECTRALGRAD_API at::Tensor density_matrix(const at::Tensor& H, const DensityMatrixOptions& options);

/// All of it.
SPECTRALGRAD_API DensityMatrix density_matrix_full(const at::Tensor& H, const DensityMatrixOptions& options);

} // namespace spectralgrad
