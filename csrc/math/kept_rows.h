#pragma once

#include "math/hermitian_part.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <c10/core/SymInt.h>

// For derivatives of a part of a decomposition. Its tables (*, n, c) are c consecutive columns, from `first` on, of the
// table of all pairs of vectors: one column for each kept vector. The rows of kept vectors form a square matrix.
namespace spectralgrad::math {

/// Applies `to_kept` to the square matrix of the rows `first` to `first` + c, and `to_dropped` to all other rows.
template <typename Kept, typename Dropped>
at::Tensor in_kept_rows(
    const at::Tensor& table,
    const c10::SymInt& first,
    const Kept& to_kept,
    const Dropped& to_dropped) {
  const auto end = first + table.sym_size(-1);
  return at::cat(
      {to_dropped(table.slice_symint(-2, 0, first)),
       to_kept(table.slice_symint(-2, first, end)),
       to_dropped(table.slice_symint(-2, end))},
      -2);
}

/// The skew-Hermitian part of a matrix whose kept columns are `W` (*, n, c) and whose other columns are zero: its kept
/// columns.
inline at::Tensor skew_hermitian_columns(const at::Tensor& W, const c10::SymInt& first = 0) {
  return in_kept_rows(W, first, skew_hermitian_part, [](const at::Tensor& x) { return x * 0.5; });
}

/// The table N of these columns, from `products` = |V|^T |gV| (*, n, c): `cotangent_magnitude` of math/pairs/pairs.h,
/// where the cotangents of dropped vectors are zero.
inline at::Tensor magnitude_columns(const at::Tensor& products, const c10::SymInt& first = 0) {
  return in_kept_rows(
      products,
      first,
      [](const at::Tensor& x) { return x + x.mT(); },
      [](const at::Tensor& x) { return x; });
}

/// X Y for a Y of few columns. BLAS takes up to 37 times as long if Y is on the right (docs/measurements.md).
inline at::Tensor product_with_columns(const at::Tensor& X, const at::Tensor& Y) {
  return at::matmul(Y.mT(), X.mT()).mT();
}

} // namespace spectralgrad::math
