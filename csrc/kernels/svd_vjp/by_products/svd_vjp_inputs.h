#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::kernels {

/// The arguments of the vjp for B = L diag(sigma) R^H (kernels/svd_vjp/svd_vjp_batch.h), with one batch dimension and
/// in layouts that the kernels can read. Missing cotangents are undefined.
struct SvdVjpInputs {
  at::Tensor left; // L (count, m, n), m >= n
  at::Tensor left_cotangent;
  at::Tensor right; // conj(R) (count, n, n)
  at::Tensor right_cotangent;
  at::Tensor values; // (count, n)
  at::Tensor values_cotangent;
  bool is_transposed; // whether the result is the gradient of B^T

  at::Tensor empty_gradient() const {
    const auto m = left.size(1);
    const auto n = left.size(2);
    return at::empty({left.size(0), is_transposed ? n : m, is_transposed ? m : n}, left.options());
  }
};

} // namespace spectralgrad::kernels
