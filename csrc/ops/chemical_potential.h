#pragma once

#include "ops/spectral_function.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// mu (*) with tr f((A - mu)/kT) = filling, f the occupations of the smearing; differentiable in A, filling (*) and kT (*).
/// Raises `c10::ValueError`, in the name of `density_matrix`, unless 0 < filling < n; kT > 0. An orbital holds `spin` electrons.
at::Tensor chemical_potential(
    const Eigenpairs& pairs,
    const at::Tensor& filling,
    const at::Tensor& kT,
    double spin,
    Smearing smearing);

/// The smearing of that name; raises `c10::ValueError` for other names.
Smearing checked_smearing(std::string_view name);

} // namespace spectralgrad::ops
