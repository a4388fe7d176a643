#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

// Sums in which an undefined tensor is zero.
namespace spectralgrad::math {

inline at::Tensor sum_of_defined(const at::Tensor& x, const at::Tensor& y) {
  return !x.defined() ? y : !y.defined() ? x : x + y;
}

inline at::Tensor difference_of_defined(const at::Tensor& x, const at::Tensor& y) {
  return !y.defined() ? x : !x.defined() ? -y : x - y;
}

} // namespace spectralgrad::math
