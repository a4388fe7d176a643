#include "math/svd.h"

#include "autograd/constant.h"
#include "math/hermitian_part.h"
#include "math/pairs/pairs.h"
#include "math/svd_cotangents.h"
#include "math/watched_factors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

#include <utility>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;

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

/// |X|^T |Y|, a constant.
Tensor products_of_sizes(const Tensor& X, const Tensor& Y) {
  return at::matmul(constant(X).abs().mT(), constant(Y).abs());
}

SideCotangent side_cotangent(const Vectors& vectors, const Tensor& cotangent) {
  SideCotangent side;
  if (!cotangent.defined()) {
    return side;
  }
  const Vectors parts(cotangent, vectors.kept.sym_size(-1));
  side.inner = at::matmul(vectors.kept.mH(), parts.kept);
  side.magnitude = cotangent_magnitude(vectors.kept, parts.kept);
  if (vectors.rest.defined()) {
    side.outer = at::matmul(vectors.rest.mH(), parts.kept) - at::matmul(vectors.kept.mH(), parts.rest).mH();
    side.outer_magnitude = products_of_sizes(vectors.rest, parts.kept) +
        products_of_sizes(vectors.kept, parts.rest).mT();
  } else if (vectors.has_complement) {
    side.outer = parts.kept - at::matmul(vectors.kept, side.inner);
    side.outer_magnitude = constant(parts.kept).abs() +
        at::matmul(constant(vectors.kept).abs(), products_of_sizes(vectors.kept, parts.kept));
  }
  return side;
}

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
  if (k == 0) {
    return at::matmul(left.kept, right.kept.mH());
  }
  const auto of_U = side_cotangent(left, U_cotangent);
  const auto of_V = side_cotangent(right, V_cotangent);
  const SvdCotangents both(of_U, of_V, U_cotangent, singular_values_cotangent, V_cotangent, singular_values);
  if (!both.magnitude.defined()) {
    return at::matmul(left.kept * both.diagonal.unsqueeze(-2), right.kept.mH());
  }
  const auto divided = [&](const Tensor& W, Denominator kind) {
    return divide_cotangent(skew_hermitian_part(W), {both.magnitude, both.largest}, singular_values, kind, rule);
  };
  const auto divided_outer = [&](const Vectors& vectors, const SideCotangent& side) {
    const auto result = side.divided_outer(singular_values, both.largest, rule);
    return vectors.rest.defined() ? at::matmul(vectors.rest, result) : result;
  };
  const auto inner = at::diag_embed(both.diagonal) + divided(both.together, Denominator::difference) +
      divided(both.against, Denominator::sum);
  auto U_inner = at::matmul(left.kept, inner);
  if (of_U.outer.defined()) {
    U_inner = U_inner + divided_outer(left, of_U);
  }
  const auto result = at::matmul(U_inner, right.kept.mH());
  return of_V.outer.defined() ? result + at::matmul(left.kept, divided_outer(right, of_V).mH()) : result;
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
