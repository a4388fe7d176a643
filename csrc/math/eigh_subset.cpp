#include "math/eigh_subset.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"
#include "math/hermitian_part.h"
#include "math/kept_rows.h"
#include "math/pairs/judge_cotangents.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>

namespace spectralgrad::math {

using at::Tensor;
using autograd::constant;

Tensor eigh_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  const auto [eigenvalues, V] = autograd::with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const auto& any = eigenvectors_cotangent.defined() ? eigenvectors_cotangent : eigenvalues_cotangent;
  const auto kept = V.slice_symint(-1, first, first + any.sym_size(-1));
  if (!eigenvectors_cotangent.defined() || kept.sym_size(-1) == 0) {
    const auto diagonal = judge_cotangents(eigenvalues_cotangent, {}, {}, eigenvalues, first);
    return hermitian_part(at::matmul(kept * diagonal.unsqueeze(-2), kept.mH()));
  }
  const auto W = product_with_columns(V.mH(), eigenvectors_cotangent);
  const auto magnitude = magnitude_columns(
      product_with_columns(constant(V).abs().mT(), constant(eigenvectors_cotangent).abs()),
      first);
  const auto diagonal = judge_cotangents(eigenvalues_cotangent, W, magnitude, eigenvalues, first);
  const auto divided = divide_cotangent(
      skew_hermitian_columns(W, first),
      {magnitude, cotangent_scale(eigenvalues, eigenvalues_cotangent, eigenvectors_cotangent)},
      eigenvalues,
      Denominator::difference,
      rule,
      first);
  const auto inner = in_kept_rows(
      divided,
      first,
      [&](const Tensor& x) { return x + at::diag_embed(diagonal); },
      [](const Tensor& x) { return 2 * x; });
  return hermitian_part(at::matmul(product_with_columns(V, inner), kept.mH()));
}

} // namespace spectralgrad::math
