#include "math/polar.h"

#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

namespace spectralgrad::math {

using at::Tensor;

Tensor solve_sylvester(const Tensor& K, const Tensor& values, const Tensor& vectors) {
  const auto inner = at::matmul(at::matmul(vectors.mH(), K), vectors);
  const auto divided = divide_tangent(inner, values, Denominator::sum, Rule::gated());
  return at::matmul(at::matmul(vectors, divided), vectors.mH());
}

Tensor divide_from_the_right(const Tensor& K, const Tensor& values, const Tensor& vectors) {
  const auto divided = divide_tangent(at::matmul(K, vectors), values, Denominator::value, Rule::gated());
  return at::matmul(divided, vectors.mH());
}

} // namespace spectralgrad::math
