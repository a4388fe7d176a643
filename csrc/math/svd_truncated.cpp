#include "math/svd_truncated.h"

#include "autograd/constant.h"
#include "math/kept_rows.h"
#include "math/pairs/pairs.h"
#include "math/svd_cotangents.h"
#include "math/watched_factors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;

/// The rows of a table (*, k, r) of pairs of any vector with a kept one.
struct Rows {
  Tensor kept; // (*, r, r)
  Tensor dropped; // (*, k - r, r)

  explicit Rows(const Tensor& table)
      : kept(table.slice_symint(-2, 0, table.sym_size(-1))), dropped(table.slice_symint(-2, table.sym_size(-1))) {}
};

/// `vectors` are U or V as columns (*, rows, k), and `cotangent` is (*, rows, r) or undefined. The tables of the result
/// are (*, k, r).
SideCotangent truncated_side_cotangent(const Tensor& vectors, const Tensor& cotangent) {
  SideCotangent side;
  if (!cotangent.defined()) {
    return side;
  }
  side.inner = product_with_columns(vectors.mH(), cotangent);
  const auto sizes = constant(vectors).abs();
  const auto products = product_with_columns(sizes.mT(), constant(cotangent).abs());
  side.magnitude = magnitude_columns(products);
  if (vectors.sym_size(-2) != vectors.sym_size(-1)) {
    side.outer = cotangent - product_with_columns(vectors, side.inner);
    side.outer_magnitude = constant(cotangent).abs() + product_with_columns(sizes, products);
  }
  return side;
}

c10::SymInt number_kept(
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& Vh_cotangent) {
  return U_cotangent.defined()              ? U_cotangent.sym_size(-1)
      : singular_values_cotangent.defined() ? singular_values_cotangent.sym_size(-1)
                                            : Vh_cotangent.sym_size(-2);
}

} // namespace

Tensor svd_truncated_vjp(
    const Tensor& U_cotangent,
    const Tensor& singular_values_cotangent,
    const Tensor& Vh_cotangent,
    const Tensor& saved_U,
    const Tensor& saved_singular_values,
    const Tensor& saved_Vh,
    const Rule& rule) {
  if (!U_cotangent.defined() && !singular_values_cotangent.defined() && !Vh_cotangent.defined()) {
    return {};
  }
  const auto [U, singular_values, V] = watched_factors(saved_U, saved_singular_values, saved_Vh.mH());
  const auto r = number_kept(U_cotangent, singular_values_cotangent, Vh_cotangent);
  const auto U_kept = U.slice_symint(-1, 0, r);
  const auto V_kept = V.slice_symint(-1, 0, r);
  if (r == 0) {
    return at::matmul(U_kept, V_kept.mH());
  }
  const auto V_cotangent = Vh_cotangent.defined() ? Vh_cotangent.mH() : Tensor();
  const auto of_U = truncated_side_cotangent(U, U_cotangent);
  const auto of_V = truncated_side_cotangent(V, V_cotangent);
  const SvdCotangents both(of_U, of_V, U_cotangent, singular_values_cotangent, V_cotangent, singular_values);
  if (!both.magnitude.defined()) {
    return at::matmul(U_kept * both.diagonal.unsqueeze(-2), V_kept.mH());
  }
  const auto divided = [&](const Tensor& W, Denominator kind) {
    const CotangentSizes sizes{both.magnitude, both.largest};
    return Rows(divide_cotangent(skew_hermitian_columns(W), sizes, singular_values, kind, rule));
  };
  const auto together = divided(both.together, Denominator::difference);
  const auto against = divided(both.against, Denominator::sum);
  auto left = product_with_columns(
      U,
      at::cat({at::diag_embed(both.diagonal) + together.kept + against.kept, together.dropped + against.dropped}, -2));
  auto right = product_with_columns(V.slice_symint(-1, r), together.dropped - against.dropped);
  if (of_U.outer.defined()) {
    left = left + of_U.divided_outer(singular_values, both.largest, rule);
  }
  if (of_V.outer.defined()) {
    right = right + of_V.divided_outer(singular_values, both.largest, rule);
  }
  return at::matmul(at::cat({left, U_kept}, -1), at::cat({V_kept, right}, -1).mH());
}

} // namespace spectralgrad::math
