#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// The factor of a polar decomposition A = W P, and the trace of P.
struct PolarFactor {
  at::Tensor W; // like A
  at::Tensor trace; // (*), real
};

/// Returns W = U V^H for A = U diag(sigma) V^H of any shape (*, m, n), which was checked, and trace = sum sigma. If
/// `proper`, A is square and real, and W has determinant +1: the last column of U and the last sigma change their sign
/// if they must. W is the nearest of these matrices to A.
///
/// Differentiable to any order, exact at degenerate singular values. If W is not unique, derivatives of losses that
/// depend on the choice warn, and name `function`. For the derivatives, sums of sigma that are round-off count as zero:
/// those up to `noise` (*), a constant, if it is defined.
PolarFactor polar_factor(const char* function, const at::Tensor& A, bool proper = false, const at::Tensor& noise = {});

} // namespace spectralgrad::ops
