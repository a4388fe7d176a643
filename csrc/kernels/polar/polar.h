#pragma once

#include <ATen/core/Tensor.h>

// Passes over small square matrices, one in each SIMD lane.
namespace spectralgrad::kernels {

/// Whether the passes are faster than tensor code for matrices like `A` (*, m, n).
bool polar_goes_to_lanes(const at::Tensor& A);

/// The polar factor W = U V^H of A, the trace of P = W^H A, and the values and vectors of P.
struct PolarFactorParts {
  at::Tensor W;
  at::Tensor trace;
  at::Tensor values;
  at::Tensor vectors;
};

/// Takes the singular value decomposition of square matrices. If `proper`, det W is +1, for real matrices. Sums of
/// values up to `noise` (*) become zero, if it is defined.
PolarFactorParts polar_factor(
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const at::Tensor& noise,
    bool proper);

struct PolarVjp {
  at::Tensor gradient; // (*, n, n)
  bool vanishes; // whether a sum of values is round-off, so that the loss may depend on a W that is not unique
};

/// The gradient of A, not differentiable. A cotangent may be undefined.
PolarVjp polar_vjp(
    const at::Tensor& W_cotangent,
    const at::Tensor& trace_cotangent,
    const at::Tensor& W,
    const at::Tensor& values,
    const at::Tensor& vectors,
    bool proper);

} // namespace spectralgrad::kernels
