#pragma once

#include "autograd/constant.h"
#include "core/arithmetic.h"

#include <ATen/ScalarOps.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/where.h>

#include <limits>

namespace spectralgrad::math {

/// Arithmetic on tensors that are real or, where core/arithmetic.h says so, complex. All of it is differentiable.
struct TensorArithmetic {
  using Number = at::Tensor;
  using Mask = at::Tensor;
  using Value = double;

  static at::Tensor number(double x) {
    return at::native::wrapped_scalar_tensor(x);
  }
  static at::Tensor number_like(double value, const at::Tensor& x) {
    return at::full(at::IntArrayRef{}, value, x.options());
  }
  static double largest_number(const at::Tensor& x) {
    return c10::toRealValueType(x.scalar_type()) == at::kDouble
        ? std::numeric_limits<double>::max()
        : static_cast<double>(std::numeric_limits<float>::max());
  }
  static at::Tensor negate(const at::Tensor& x) {
    return -x;
  }
  static at::Tensor abs(const at::Tensor& x) {
    return x.abs();
  }
  static at::Tensor conjugate(const at::Tensor& x) {
    return x.conj();
  }
  static at::Tensor reciprocal(const at::Tensor& x) {
    if (!x.is_complex()) {
      return x.reciprocal();
    }
    // On some processors, torch computes |x|^2, which may underflow.
    const auto unit = constant(x).abs();
    return (x / unit).reciprocal() / unit;
  }
  static at::Tensor sqrt(const at::Tensor& x) {
    return x.sqrt();
  }
  static at::Tensor exp(const at::Tensor& x) {
    return x.exp();
  }
  static at::Tensor expm1(const at::Tensor& x) {
    return x.expm1();
  }
  static at::Tensor log(const at::Tensor& x) {
    return x.log();
  }
  static at::Tensor log1p(const at::Tensor& x) {
    return x.log1p();
  }
  static at::Tensor power(const at::Tensor& x, double exponent) {
    return x.pow(exponent);
  }
  static at::Tensor larger(const at::Tensor& x, const at::Tensor& y) {
    return at::maximum(x, y);
  }
  static at::Tensor smaller(const at::Tensor& x, const at::Tensor& y) {
    return at::minimum(x, y);
  }
  static at::Tensor constant(const at::Tensor& x) {
    return autograd::constant(x);
  }
  static at::Tensor select(const at::Tensor& mask, const at::Tensor& yes, const at::Tensor& no) {
    return at::where(mask, yes, no);
  }
  static at::Tensor is_finite(const at::Tensor& x) {
    return x < std::numeric_limits<double>::infinity();
  }
  static at::Tensor negation(const at::Tensor& mask) {
    return mask.logical_not();
  }
  /// Always true: waiting for a device's answer takes longer than computing what may not be needed.
  static bool any(const at::Tensor&) {
    return true;
  }
};

inline at::Tensor quotient(const at::Tensor& numerator, const at::Tensor& denominator) {
  return quotient_or_zero<TensorArithmetic>(numerator, denominator);
}

} // namespace spectralgrad::math
