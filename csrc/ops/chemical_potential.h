#pragma once

#include "ops/spectral_function.h"

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// mu (*) with tr f((A - mu)/kT) = filling, f the Fermi function; differentiable in A, filling (*) and kT (*). Raises
/// `c10::ValueError`, in the name of `density_matrix`, unless 0 < filling < n; kT > 0. An orbital holds `spin` electrons.
at::Tensor chemical_potential(const Eigenpairs& pairs, const at::Tensor& filling, const at::Tensor& kT, double spin);

} // namespace spectralgrad::ops
