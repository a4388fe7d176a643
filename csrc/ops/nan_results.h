#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <limits>
#include <tuple>

namespace spectralgrad::ops {

/// Decomposes the batch `A` by `decompose(A)`, which returns a tuple of tensors. Results for the matrices marked in
/// `bad` (*), which are not finite, are NaN and do not disturb the others. Results that are empty stay so.
template <typename Decompose>
auto nan_where_bad(const at::Tensor& A, const at::Tensor& bad, const Decompose& decompose) {
  if (!bad.any().item<bool>()) {
    return decompose(A);
  }
  const auto mask_for = [&](const at::Tensor& x) {
    auto mask = bad;
    while (mask.dim() < x.dim()) {
      mask = mask.unsqueeze(-1);
    }
    return mask;
  };
  const auto fill = [&](const at::Tensor& x) {
    if (x.numel() > 0) {
      x.masked_fill_(mask_for(x), std::numeric_limits<double>::quiet_NaN());
    }
  };
  auto results = decompose(A.masked_fill(mask_for(A), 0));
  std::apply([&](const auto&... x) { (fill(x), ...); }, results);
  return results;
}

} // namespace spectralgrad::ops
