#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// For `Rule::split`, returns the nearest ascending eigenvalues (*, n) with gaps of at least w = width*max|lambda|, or
/// w = width if all are zero. For any other rule, returns `eigenvalues` (*, n) unchanged.
///
/// This is the Euclidean projection: isotonic regression of lambda_i - i*w by pooling adjacent violators, after which
/// i*w is added back. It keeps the sum and moves each of m pooled eigenvalues by at most (m - 1)/2 * w. All others are
/// bitwise unchanged. Together with the eigenvectors, the result is the exact decomposition of a matrix near A: their
/// distance is that of the eigenvalues.
at::Tensor split_eigenvalues(const at::Tensor& eigenvalues, const Rule& rule);

/// Does the same with descending singular values (*, k): with w = width*max(sigma), the eigenvalues +-sigma of
/// [[0, A], [A^H, 0]], and its eigenvalues 0 unless A `is_square`, get gaps of at least w. So the smallest singular
/// value is at least w/2, or w. That keeps the sum only if no lower bound is active.
at::Tensor split_singular_values(const at::Tensor& singular_values, bool is_square, const Rule& rule);

} // namespace spectralgrad::ops
