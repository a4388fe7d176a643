#pragma once

#include "ops/spectral_function.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <array>

// Of mu(A, N, kT), defined by tr f((A - mu)/kT) = N, f the occupations of a smearing. By the implicit function theorem, with
// X = (A - mu)/kT and Q = u(X), u = -f',
//     d_mu = [tr(Q dA) - tr(Q X) dkT + kT dN] / tr Q,
// where Q and tr Q, both in the unit of math/smearing.h, are themselves functions of a matrix: so the formula is
// differentiable tensor code, exact where eigenvalues meet.
namespace spectralgrad::math {

/// What the derivatives read; A (*, n, n) Hermitian in both triangles, the rest (*), mu the solution.
struct ChemicalPotential {
  ops::Eigenpairs pairs;
  at::Tensor kT;
  at::Tensor mu;
  Smearing smearing;
};

/// Levels x = (epsilon - mu)/kT. Functions of them depend on A through `pairs`, where mu and kT are constants, and on mu and kT
/// through their jets: so a derivative in mu is one of occupations alone, not a small difference of large changes of a matrix.
struct ReducedLevels {
  ops::Eigenpairs pairs; // (A - mu)/kT
  at::Tensor x; // (*, n)
  at::Tensor unit; // (*, 1, 1): 1, as what kT is divided by, constant, over kT

  ReducedLevels(const ops::Eigenpairs& given, const at::Tensor& mu, const at::Tensor& kT);

  /// From derivatives in x to those in the levels of `pairs`.
  at::Tensor in_units(const at::Tensor& jets) const;
};

/// The cotangents of A, the filling N and kT, each if it is needed.
std::array<at::Tensor, 3> chemical_potential_vjp(
    const at::Tensor& cotangent,
    const ChemicalPotential& at,
    const std::array<bool, 3>& needed);

/// Tangents of A, N, kT may be undefined.
at::Tensor chemical_potential_jvp(const std::array<at::Tensor, 3>& tangents, const ChemicalPotential& at);

} // namespace spectralgrad::math
