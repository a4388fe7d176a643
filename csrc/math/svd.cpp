#include "math/svd.h"

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
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;

/// `a` + `b`, either of which may be undefined.
Tensor sum(const Tensor& a, const Tensor& b) {
  return !a.defined() ? b : !b.defined() ? a : a + b;
}

Tensor difference(const Tensor& a, const Tensor& b) {
  return !b.defined() ? a : !a.defined() ? -b : a - b;
}

/// The singular vectors of one side, U or V, as columns (*, rows, k) or (*, rows, rows). `kept` are the first k, and
/// `rest` the others, which belong to no singular value.
struct Vectors {
  Tensor kept;
  Tensor rest; // undefined if there are none
  bool has_complement; // whether the kept ones do not span the space

  Vectors(const Tensor& vectors, const c10::SymInt& k) : kept(vectors), has_complement(vectors.sym_size(-2) != k) {
    if (vectors.sym_size(-1) != k) {
      kept = vectors.slice_symint(-1, 0, k);
      rest = vectors.slice_symint(-1, k);
    }
  }
};

/// One side in reverse mode.
class Side {
 public:
  Side(const Vectors& vectors, const Tensor& cotangent) : vectors_(vectors) {
    if (!cotangent.defined()) {
      return;
    }
    const auto k = vectors.kept.sym_size(-1);
    const Vectors parts(cotangent, k);
    inner = at::matmul(vectors.kept.mH(), parts.kept);
    magnitude = cotangent_magnitude(vectors.kept, parts.kept);
    if (vectors.rest.defined()) {
      outer_ = at::matmul(vectors.rest.mH(), parts.kept) - at::matmul(vectors.kept.mH(), parts.rest).mH();
      outer_magnitude_ = products_of_sizes(vectors.rest, parts.kept) + products_of_sizes(vectors.kept, parts.rest).mT();
    } else if (vectors.has_complement) {
      outer_ = parts.kept - at::matmul(vectors.kept, inner);
      outer_magnitude_ = constant(parts.kept).abs() +
          at::matmul(constant(vectors.kept).abs(), products_of_sizes(vectors.kept, parts.kept));
    }
  }

  /// W = V^H gV of the kept columns, and its N; undefined if there is no cotangent.
  Tensor inner;
  Tensor magnitude;

  bool has_outer() const {
    return outer_.defined();
  }

  /// The largest |R_ij| of each column j (*, k) that is no round-off compared to N_ij, else 0. A constant.
  Tensor significant_outer() const {
    const auto size = constant(outer_).abs();
    const auto significant = size > tolerances::gauge(size.scalar_type()) * outer_magnitude_;
    return at::where(significant, size, at::zeros_like(size)).amax({-2});
  }

  /// F^0 o R (*, rows, k).
  Tensor divided_outer(const Tensor& singular_values, const Tensor& largest, const Rule& rule) const {
    const auto divided =
        divide_cotangent(outer_, {outer_magnitude_, largest}, singular_values, Denominator::value, rule);
    return vectors_.rest.defined() ? at::matmul(vectors_.rest, divided) : divided;
  }

 private:
  /// |X|^T |Y|, a constant.
  static Tensor products_of_sizes(const Tensor& X, const Tensor& Y) {
    return at::matmul(constant(X).abs().mT(), constant(Y).abs());
  }

  const Vectors& vectors_;
  Tensor outer_; // R, or the coefficients of its columns in `rest`
  Tensor outer_magnitude_;
};

} // namespace

Tensor svd_vjp(
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
  const auto k = singular_values.sym_size(-1);
  const Vectors left(U, k);
  const Vectors right(V, k);
  const auto V_cotangent = Vh_cotangent.defined() ? Vh_cotangent.mH() : Tensor();
  const Side of_U(left, U_cotangent);
  const Side of_V(right, V_cotangent);
  if (k == 0) {
    return at::matmul(left.kept, right.kept.mH());
  }
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
    return at::matmul(left.kept * diagonal.unsqueeze(-2), right.kept.mH());
  }
  auto largest = cotangent_scale(singular_values, singular_values_cotangent, U_cotangent);
  if (V_cotangent.defined()) {
    largest = at::maximum(largest, cotangent_scale(singular_values, {}, V_cotangent));
  }
  const CotangentSizes sizes{magnitude, largest};
  const auto divided = [&](const Tensor& W, Denominator kind) {
    return divide_cotangent(skew_hermitian_part(W), sizes, singular_values, kind, rule);
  };
  const auto inner = at::diag_embed(diagonal) + divided(W_together, Denominator::difference) +
      divided(W_against, Denominator::sum);
  auto U_inner = at::matmul(left.kept, inner);
  if (of_U.has_outer()) {
    U_inner = U_inner + of_U.divided_outer(singular_values, largest, rule);
  }
  const auto result = at::matmul(U_inner, right.kept.mH());
  return of_V.has_outer() ? result + at::matmul(left.kept, of_V.divided_outer(singular_values, largest, rule).mH())
                          : result;
}

namespace {

/// The tangent of one side. `inner` (*, k, k) is the rotation of the kept vectors, and `image` (*, rows, k) is dA V_1
/// or dA^H U_1, with the coefficients X.
Tensor side_jvp(
    const Vectors& vectors,
    const Tensor& inner,
    const Tensor& image,
    const Tensor& X,
    const Tensor& singular_values,
    const Rule& rule) {
  auto kept = at::matmul(vectors.kept, inner);
  if (!vectors.has_complement) {
    return kept;
  }
  const auto divided = [&](const Tensor& R) {
    return divide_tangent(R, singular_values, Denominator::value, rule);
  };
  if (!vectors.rest.defined()) {
    return kept + divided(image - at::matmul(vectors.kept, X));
  }
  const auto turned = divided(at::matmul(vectors.rest.mH(), image));
  return at::cat({kept + at::matmul(vectors.rest, turned), -at::matmul(vectors.kept, turned.mH())}, -1);
}

} // namespace

std::tuple<Tensor, Tensor, Tensor> svd_jvp(
    const Tensor& tangent,
    const Tensor& saved_U,
    const Tensor& saved_singular_values,
    const Tensor& saved_Vh,
    const Rule& rule) {
  const auto [U, singular_values, V] = watched_factors(saved_U, saved_singular_values, saved_Vh.mH());
  const auto k = singular_values.sym_size(-1);
  const Vectors left(U, k);
  const Vectors right(V, k);
  const auto image_V = at::matmul(tangent, right.kept);
  const auto image_U = at::matmul(tangent.mH(), left.kept);
  const auto X = at::matmul(left.kept.mH(), image_V);
  const auto together = divide_tangent(hermitian_part(X), singular_values, Denominator::difference, rule);
  const auto against = divide_tangent(skew_hermitian_part(X), singular_values, Denominator::sum, rule);
  return {
      side_jvp(left, together + against, image_V, X, singular_values, rule),
      at::real(X.diagonal(0, -2, -1)),
      side_jvp(right, together - against, image_U, X.mH(), singular_values, rule).mH()};
}

} // namespace spectralgrad::math
