#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// Returns the solution X of P X + X P = K, K (*, n, n), if `both_sides`, else of X P = K, K (*, r, n).
///
/// P is Hermitian (*, n, n). The solution is computed with its real `values` (*, n) and `vectors` (*, n, n), which are
/// constants (math/polar.h). Differentiable in P and K to any order, and exact at degenerate values: the derivative is
/// the solution of the same equation for dK - dP X - X dP, or dK - X dP.
at::Tensor polar_quotient(
    const at::Tensor& P,
    const at::Tensor& K,
    const at::Tensor& values,
    const at::Tensor& vectors,
    bool both_sides);

} // namespace spectralgrad::ops
