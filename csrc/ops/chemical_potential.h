#pragma once

#include "ops/eigenpairs.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// Levels x = (epsilon - mu)/kT. Functions of them depend on A through `pairs`, in which mu and kT are constants, and
/// on mu and kT through their jets. So a derivative with respect to mu is one of occupations alone, not a small
/// difference of large changes of a matrix.
struct ReducedLevels {
  Eigenpairs pairs; // (A - mu)/kT
  at::Tensor x; // (*, n)
  at::Tensor unit; // (*, 1, 1): 1 in value; kT as a constant, divided by kT

  ReducedLevels(const Eigenpairs& given, const at::Tensor& mu, const at::Tensor& kT);

  /// Converts derivatives with respect to x to those with respect to the eigenvalues of `pairs`.
  at::Tensor in_units(const at::Tensor& jets) const;
};

/// Returns mu (*) with tr f((A - mu)/kT) = filling, where f are the occupations of the smearing. It is differentiable
/// with respect to A, filling (*) and kT (*), which must be positive. Raises `c10::ValueError`, which names
/// `density_matrix`, unless 0 < filling < n. The message counts electrons; an orbital holds `spin` of them.
at::Tensor chemical_potential(
    const Eigenpairs& pairs,
    const at::Tensor& filling,
    const at::Tensor& kT,
    double spin,
    Smearing smearing);

/// The smearing of that name. Raises `c10::ValueError` for other names.
Smearing checked_smearing(std::string_view name);

} // namespace spectralgrad::ops
