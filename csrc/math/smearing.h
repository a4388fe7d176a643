#pragma once

#include "math/fermi.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

// Occupations f(x) of levels x = (lambda - mu)/kT, which fall from 1 to 0, and their entropy s(x). Each smearing has
// s' = x f', so that dF = tr(D dH) for F = sum lambda f - kT sum s at a fixed number of electrons.
//
// Fermi-Dirac: f = 1/(1 + e^x), s = -(f ln f + (1 - f) ln(1 - f)). Mermin (1965), Phys. Rev. 137, A1441.
// The others are f = erfc(z)/2 + p(z) e^(-z^2) with a polynomial p:
//     Gaussian:             z = x,              p = 0,                   s = e^(-z^2)/(2 sqrt(pi))
//     Methfessel-Paxton 1:  z = x,              p = -z/(2 sqrt(pi)),     s = (1 - 2z^2) e^(-z^2)/(4 sqrt(pi))
//     cold:                 z = x + 1/sqrt(2),  p = 1/sqrt(2 pi),        s = z e^(-z^2)/sqrt(2 pi)
// Methfessel and Paxton (1989), Phys. Rev. B 40, 3616. Marzari, Vanderbilt, De Vita and Payne (1999), Phys. Rev. Lett.
// 82, 3296.
namespace spectralgrad::math {

/// The name of a smearing in arguments: "fermi", "gaussian", "methfessel-paxton" or "cold".
std::string name_of(Smearing smearing);
/// The smearing of that name; nullopt for other names.
std::optional<Smearing> smearing_of(std::string_view name);

/// f and its first four derivatives: (*, 5, n). Smooth tensor code, because derivatives with respect to x pass through
/// it.
at::Tensor occupation_jets(Smearing smearing, const at::Tensor& x);

/// s and its first four derivatives: (*, 5, n). Smooth tensor code.
at::Tensor entropy_jets(Smearing smearing, const at::Tensor& x);

/// u = -f' and its first three derivatives. Smooth tensor code.
OccupationSlope occupation_slope(Smearing smearing, const at::Tensor& x);

/// Whether x = 0 is in a gap so wide that all levels (*, n) are empty or full up to round-off: (*). A constant.
at::Tensor is_in_wide_gap(Smearing smearing, const at::Tensor& x);

// Used for divided differences. The results are constants of differentiation.

/// f(x), not for "fermi", which has a closed form.
at::Tensor smeared_values(Smearing smearing, const at::Tensor& x);

/// f and its derivatives up to `order`: (*, order + 1, n).
at::Tensor smeared_jets(Smearing smearing, const at::Tensor& x, int64_t order);

/// f[a, b] for a <= b, not for "fermi". If a and b are close, it is the mean of f' between them, by Gauss-Legendre
/// quadrature. Otherwise it is the quotient (f(b) - f(a))/(b - a). On each side of mu the smaller of f and 1 - f is
/// used, which avoids cancellation.
at::Tensor smeared_first_differences(Smearing smearing, const at::Tensor& a, const at::Tensor& b);

} // namespace spectralgrad::math
