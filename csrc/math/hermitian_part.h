#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

inline at::Tensor hermitian_part(const at::Tensor& M) {
  return (M + M.mH()) * 0.5;
}

inline at::Tensor skew_hermitian_part(const at::Tensor& M) {
  return (M - M.mH()) * 0.5;
}

} // namespace spectralgrad::math
