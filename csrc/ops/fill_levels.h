#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// Occupations (*, n), between 0 and 1, of ascending eigenvalues (*, n) filled from below by `filling` (*) in all, for the
/// public `function`; a constant of every differentiation. A single eigenvalue may be filled in part. Where a repeated one would
/// be, each copy gets an equal fraction if they `share`; otherwise the function raises `c10::LinAlgError` (under
/// `Checks::ignore` that matrix gives NaN). In the message, `argument` is what decides the filling, and a filled eigenvalue holds
/// `capacity` of that. `amplification` (*), undefined for 1, says how much larger than that of LAPACK the rounding of
/// eigenvalues is.
at::Tensor fill_levels(
    const at::Tensor& eigenvalues,
    const at::Tensor& filling,
    const at::Tensor& amplification,
    std::string_view function,
    std::string_view argument,
    double capacity,
    bool share);

} // namespace spectralgrad::ops
