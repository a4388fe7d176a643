#include "math/watched_factors.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {

using at::Tensor;

std::tuple<Tensor, Tensor, Tensor> watched_factors(const Tensor& U, const Tensor& singular_values, const Tensor& V) {
  if (!autograd::is_differentiated(U) && !autograd::is_differentiated(singular_values) &&
      !autograd::is_differentiated(V)) {
    return {U, singular_values, V};
  }
  // One watch over both factors, so that it warns once. It takes ascending values. A zero beside them makes it warn at
  // a singular value 0 where that alone is a degeneracy: sigma_j and 2 sigma_j are gaps unless A is square and real.
  auto ascending = -singular_values;
  if (U.is_complex() || U.sym_size(-2) != V.sym_size(-2)) {
    ascending = at::cat({ascending, at::zeros_like(ascending.slice(-1, 0, 1))}, -1);
  }
  const auto numbers = U.sym_size(-2) * U.sym_size(-1);
  const auto both = at::cat({U.flatten(-2), V.flatten(-2)}, -1).unsqueeze(-2);
  const auto [values, vectors] = autograd::with_second_order_warning(ascending, both);
  const auto parts = vectors.squeeze(-2);
  return {
      parts.slice_symint(-1, 0, numbers).view_as(U),
      -values.slice_symint(-1, 0, singular_values.sym_size(-1)),
      parts.slice_symint(-1, numbers).reshape_symint(V.sym_sizes())};
}

} // namespace spectralgrad::math
