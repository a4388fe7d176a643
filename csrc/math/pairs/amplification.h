#pragma once

#include <ATen/core/Tensor.h>

// The round-off of a generalized problem, beside that of a Hermitian one.
//
// With B = C C^H, A x = lambda B x becomes the problem of C^-1 A C^-H. Its round-off exceeds eps*max|lambda| by about
//     max_k B_kk (B^-1)_kk.
// This is 1 for diagonal B, and about the condition number of B after its rows and columns are scaled to a unit
// diagonal: scaling them multiplies A, B and V by powers of the same numbers, and changes no digit. The computed values
// of one eigenvalue spread over as many of these units as those of a Hermitian matrix do of eps*max|lambda|
// (docs/measurements.md). So the widths of clusters are multiplied by it.
//
// N and M (math/pairs/pairs.h) contain V once. The cotangent of tr(A V V^H) is 2 A V, and its round-off contains V once
// more. Each V brings a factor of up to the square root, so N and M are multiplied by that.
namespace spectralgrad::math {

/// Returns the amplification (*), real, at least 1, from the diagonal of B (*, n) and R (*, n, n) with R R^H = B^-1. It
/// is exactly 1 for B = I, whatever the round-off of R, and a constant of differentiation. For n = 0 it is undefined.
at::Tensor amplification(const at::Tensor& B_diagonal, const at::Tensor& R);

} // namespace spectralgrad::math
