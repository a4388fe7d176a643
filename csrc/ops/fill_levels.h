#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace spectralgrad::ops {

/// Fills ascending eigenvalues (*, n) from below. Returns their occupations (*, n), between 0 and 1, which sum to
/// `filling` (*). The result is a constant of differentiation.
///
/// A single eigenvalue may be partly filled. The copies of a degenerate one get equal fractions if `share`. Otherwise
/// the function raises `c10::LinAlgError` if the filling ends inside them (under `Checks::ignore` that matrix gives
/// NaN). Messages name the public `function` and `argument`, which decides the filling; a filled eigenvalue holds
/// `capacity` of it. `amplification` (*) is the round-off of the eigenvalues in units of LAPACK's; undefined means 1.
at::Tensor fill_levels(
    const at::Tensor& eigenvalues,
    const at::Tensor& filling,
    const at::Tensor& amplification,
    std::string_view function,
    std::string_view argument,
    double capacity,
    bool share);

} // namespace spectralgrad::ops
