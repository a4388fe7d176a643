#pragma once

#include "kernels/eigh_vjp/by_products/cache_lines.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

// Products of whole matrices by LibTorch, with its threads.
namespace spectralgrad::kernels {

/// Whether results must not depend on a matrix's place in the batch. Products then read and write matrices that begin
/// at cache lines. The copies cost time, so they are made only on request (docs/measurements.md).
inline bool is_deterministic() {
  return at::globalContext().deterministicAlgorithms();
}

/// Writes a (count, m, k) times b (count, k, n) to `result`.
inline void product_into(at::Tensor result, const at::Tensor& a, const at::Tensor& b) {
  if (is_deterministic()) {
    auto to = begins_lines(result) ? result
                                   : empty_in_lines(result.size(0), result.size(1), result.size(2), result.options());
    at::bmm_out(to, in_lines(a), in_lines(b));
    if (!to.is_same(result)) {
      result.copy_(to);
    }
  } else if (a.size(0) == 1) {
    // All threads share a single product.
    auto one = result[0];
    at::mm_out(one, a[0], b[0]);
  } else {
    at::bmm_out(result, a, b);
  }
}

inline at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  const auto result = is_deterministic() ? empty_in_lines(a.size(0), a.size(1), b.size(2), a.options())
                                         : at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  product_into(result, a, b);
  return result;
}

/// Replaces `result` by factor*result - a b.
inline void subtract_product(const at::Tensor& result, double factor, const at::Tensor& a, const at::Tensor& b) {
  if (is_deterministic()) {
    result.mul_(factor).sub_(product(a, b));
  } else if (a.size(0) == 1) {
    result[0].addmm_(a[0], b[0], factor, -1);
  } else {
    result.baddbmm_(a, b, factor, -1);
  }
}

} // namespace spectralgrad::kernels
