#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// f[lambda_i, lambda_j, lambda_k]: n^3 numbers, computed in slices.
class SecondDifferences {
 public:
  SecondDifferences(const ScalarFunction& f, const at::Tensor& eigenvalues);

  /// For start <= k < start + count: (*, n, n, count).
  at::Tensor slice(int64_t start, int64_t count) const;

 private:
  ScalarFunction f_;
  DifferenceArguments arguments_;
  at::Tensor first_; // first differences; undefined where second ones have a closed form
};

} // namespace spectralgrad::math
