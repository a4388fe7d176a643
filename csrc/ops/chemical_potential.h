#pragma once

#include "ops/spectral_function.h"

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

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
