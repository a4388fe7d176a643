#include "math/svd_truncated.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"
#include "math/pairs/judge_singular_vectors.h"
#include "math/pairs/pairs.h"
#include "math/watched_factors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

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

/// X Y for a Y of few columns. BLAS takes up to 37 times as long if Y is on the right (docs/measurements.md).
Tensor product(const Tensor& X, const Tensor& Y) {
  return at::matmul(Y.mT(), X.mT()).mT();
}

/// The skew-Hermitian part of a matrix whose first r columns are `W` (*, k, r) and whose other columns are zero: these
/// columns of it.
Tensor skew_hermitian_columns(const Tensor& W) {
  const Rows rows(W);
  return at::cat({skew_hermitian_part(rows.kept), rows.dropped * 0.5}, -2);
}

/// One side, U or V, as columns (*, rows, k). `cotangent` (*, rows, r) may be undefined.
class Side {
 public:
  Side(const Tensor& vectors, const Tensor& cotangent) {
    if (!cotangent.defined()) {
      return;
    }
    inner = product(vectors.mH(), cotangent);
    const auto sizes = constant(vectors).abs();
    const auto products = product(sizes.mT(), constant(cotangent).abs());
    const Rows rows(products);
    magnitude = at::cat({rows.kept + rows.kept.mT(), rows.dropped}, -2);
    if (vectors.sym_size(-2) != vectors.sym_size(-1)) {
      outer_ = cotangent - product(vectors, inner);
      outer_magnitude_ = constant(cotangent).abs() + product(sizes, products);
    }
  }

  /// W = V^H gV (*, k, r), and its N; undefined if there is no cotangent.
  Tensor inner;
  Tensor magnitude;

  bool has_outer() const {
    return outer_.defined();
  }

  /// The largest |R_ij| of each column j (*, r) that is no round-off compared to N_ij, else 0. A constant.
  Tensor significant_outer() const {
    const auto size = constant(outer_).abs();
    const auto significant = size > tolerances::gauge(size.scalar_type()) * outer_magnitude_;
    return at::where(significant, size, at::zeros_like(size)).amax({-2});
  }

  /// F^0 o R (*, rows, r).
  Tensor divided_outer(const Tensor& singular_values, const Tensor& largest, const Rule& rule) const {
    return divide_cotangent(outer_, {outer_magnitude_, largest}, singular_values, Denominator::value, rule);
  }

 private:
  Tensor outer_; // R
  Tensor outer_magnitude_;
};

/// `a` + `b`, either of which may be undefined.
Tensor sum(const Tensor& a, const Tensor& b) {
  return !a.defined() ? b : !b.defined() ? a : a + b;
}

Tensor difference(const Tensor& a, const Tensor& b) {
  return !b.defined() ? a : !a.defined() ? -b : a - b;
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
  const Side of_U(U, U_cotangent);
  const Side of_V(V, V_cotangent);
  const auto magnitude = sum(of_U.magnitude, of_V.magnitude);
  const auto W_together = sum(of_U.inner, of_V.inner);
  const auto W_against = difference(of_U.inner, of_V.inner);
  // Only one side has a part outside its range, because A has as many rows or columns as it has singular values.
  const auto& outer_side = of_U.has_outer() ? of_U : of_V;
  const auto diagonal = judge_singular_vectors(
      singular_values_cotangent,
      W_together,
      W_against,
      magnitude,
      outer_side.has_outer() ? outer_side.significant_outer() : Tensor(),
      singular_values);
  if (!magnitude.defined()) {
    return at::matmul(U_kept * diagonal.unsqueeze(-2), V_kept.mH());
  }
  auto largest = cotangent_scale(singular_values, singular_values_cotangent, U_cotangent);
  if (V_cotangent.defined()) {
    largest = at::maximum(largest, cotangent_scale(singular_values, {}, V_cotangent));
  }
  const auto divided = [&](const Tensor& W, Denominator kind) {
    return Rows(divide_cotangent(skew_hermitian_columns(W), {magnitude, largest}, singular_values, kind, rule));
  };
  const auto together = divided(W_together, Denominator::difference);
  const auto against = divided(W_against, Denominator::sum);
  auto left = product(
      U,
      at::cat({at::diag_embed(diagonal) + together.kept + against.kept, together.dropped + against.dropped}, -2));
  auto right = product(V.slice_symint(-1, r), together.dropped - against.dropped);
  if (of_U.has_outer()) {
    left = left + of_U.divided_outer(singular_values, largest, rule);
  }
  if (of_V.has_outer()) {
    right = right + of_V.divided_outer(singular_values, largest, rule);
  }
  return at::matmul(at::cat({left, U_kept}, -1), at::cat({V_kept, right}, -1).mH());
}

} // namespace spectralgrad::math
