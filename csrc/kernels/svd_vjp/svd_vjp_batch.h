#pragma once

#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

namespace spectralgrad::kernels::simd {

/// A batch of matrices of singular vectors, or of their cotangents, one after the other.
template <typename T>
struct SingularVectorBatch {
  const T* data; // null if there is no cotangent
  bool by_rows; // row by row rather than column by column
};

/// A batch of decompositions B = L diag(sigma) R^H with `rows` >= `columns`, and their cotangents. Complex numbers are
/// pairs of real ones. R is square. If A is tall, B is A, L is U and R is V. If A is wide, B is A^T, L is conj(V) and R
/// is conj(U). So L and conj(R) are the numbers that svd returns.
template <typename T>
struct SvdVjpBatch {
  int rows;
  int columns;
  bool is_complex;
  const T* singular_values; // (count, columns), descending
  const T* singular_values_cotangent; // (count, columns), or null
  SingularVectorBatch<T> left; // (count, rows, columns)
  SingularVectorBatch<T> left_cotangent;
  SingularVectorBatch<T> right; // conj(R), (count, columns, columns)
  SingularVectorBatch<T> right_cotangent; // of conj(R)
  math::BroadeningRule<T> rule;
  bool gates;
  math::NoiseGate<T> gate; // only read if `gates`
  bool judges; // whether to look for losses without a gradient
  T gauge; // threshold of the statistics, as a fraction of N
  T same_value; // gap up to which singular values count as equal, as a fraction of the largest
  T* result; // (count, rows, columns), the gradient of B, row by row
  bool is_transposed; // the result is that of A = B^T, (count, columns, rows)
};

} // namespace spectralgrad::kernels::simd
