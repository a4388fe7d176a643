#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// For a rule that splits, the nearest ascending eigenvalues with gaps of at least width*max|lambda| (of `width`, where all
/// are zero); for any other rule, `eigenvalues` (*, n) themselves.
///
/// The Euclidean projection: isotonic regression of lambda_i - i*w by pooling adjacent violators, then i*w added back. It
/// keeps the sum, moves each of m pooled eigenvalues by at most (m - 1)/2 widths, and leaves all others to the bit. With
/// the eigenvectors, the result is the exact decomposition of a matrix that near A.
at::Tensor split_eigenvalues(const at::Tensor& eigenvalues, const Rule& rule);

} // namespace spectralgrad::ops
