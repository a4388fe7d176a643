#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace spectralgrad::math {

/// How many singular values a truncation keeps. Values not given do not restrict it.
struct Truncation {
  std::optional<int64_t> rank;
  std::optional<double> rtol;
  std::optional<double> atol;
  bool keep_multiplets;
};

/// Returns how many of the descending singular values (*, k) of m x n matrices are kept, one number for the batch:
/// the largest that a matrix needs. `larger_side` is max(m, n).
///
/// A matrix needs `rank` if that is given without tolerances. Otherwise it needs the number of its singular values
/// above max(atol, rtol*max(sigma)), but at most `rank`. As in torch.linalg.matrix_rank, rtol is by default
/// max(m, n)*eps, or 0 if atol > 0. A matrix with NaN needs `rank`, or 0 if a tolerance decides.
///
/// With `keep_multiplets`, the number grows until no matrix of the batch has equal singular values on both sides of the
/// cut: until the gap there is no round-off (`same_eigenvalue` in core/tolerances.h). Singular values that are 0 up to
/// round-off (max(m, n)*eps*max(sigma)) do not count as equal, because they contribute nothing to A: otherwise a
/// truncation of a matrix of low rank would keep all of them.
int64_t truncation_rank(const at::Tensor& singular_values, const Truncation& truncation, int64_t larger_side);

} // namespace spectralgrad::math
