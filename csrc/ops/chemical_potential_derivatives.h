#pragma once

#include "ops/spectral_function.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <array>

// Derivatives of mu(A, N, kT), which tr f((A - mu)/kT) = N defines, where f are the occupations of a smearing. By the
// implicit function theorem, with X = (A - mu)/kT and Q = u(X), u = -f',
//     d_mu = [tr(Q dA) - tr(Q X) dkT + kT dN] / tr Q.
// Q and tr Q, both in the unit of math/smearing.h, are functions of a matrix, too. So the formula is differentiable
// tensor code, exact at degenerate eigenvalues.
namespace spectralgrad::math {

/// The point at which mu is differentiated: A (*, n, n), Hermitian in both triangles, kT (*), and mu (*), the solution.
struct ChemicalPotential {
  ops::Eigenpairs pairs;
  at::Tensor kT;
  at::Tensor mu;
  Smearing smearing;
};

/// Levels x = (epsilon - mu)/kT. Functions of them depend on A through `pairs`, in which mu and kT are constants, and
/// on mu and kT through their jets. So a derivative with respect to mu is one of occupations alone, not a small
/// difference of large changes of a matrix.
struct ReducedLevels {
  ops::Eigenpairs pairs; // (A - mu)/kT
  at::Tensor x; // (*, n)
  at::Tensor unit; // (*, 1, 1): 1 in value; kT as a constant, divided by kT

  ReducedLevels(const ops::Eigenpairs& given, const at::Tensor& mu, const at::Tensor& kT);

  /// Converts derivatives with respect to x to those with respect to the eigenvalues of `pairs`.
  at::Tensor in_units(const at::Tensor& jets) const;
};

/// Returns the cotangents of A, the filling N and kT; undefined unless `needed`.
std::array<at::Tensor, 3> chemical_potential_vjp(
    const at::Tensor& cotangent,
    const ChemicalPotential& at,
    const std::array<bool, 3>& needed);

/// Returns the tangent of mu. The tangents of A, N and kT may be undefined.
at::Tensor chemical_potential_jvp(const std::array<at::Tensor, 3>& tangents, const ChemicalPotential& at);

} // namespace spectralgrad::math
