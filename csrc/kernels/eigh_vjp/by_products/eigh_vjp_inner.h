#pragma once

#include "math/pairs/pairs.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <array>
#include <utility>

namespace spectralgrad::kernels {

/// Returns W = V^H gV and the quotients of S, the first two members of `math::EighVjpInner`, by one matrix product and
/// one pass over all pairs. The quotient has diag(g_lambda) on its diagonal, so it is Q as well. For CPU matrices with
/// n >= 1. `x` are g_lambda, which may be undefined, gV, the eigenvalues and the eigenvectors. The results are not
/// differentiable.
std::pair<at::Tensor, math::DifferentiatedQuotient> eigh_vjp_inner(
    const std::array<at::Tensor, 4>& x,
    const Rule& rule);

} // namespace spectralgrad::kernels
