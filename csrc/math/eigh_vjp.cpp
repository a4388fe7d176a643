#include "math/eigh_vjp.h"

#include "math/hermitian_part.h"
#include "math/sum_of_defined.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

namespace spectralgrad::math {

using at::Tensor;

EighVjpInner eigh_vjp_inner(const EighVjpArguments& x, const Rule& rule) {
  EighVjpInner inner;
  if (x.eigenvectors_cotangent.defined()) {
    const auto magnitude = cotangent_magnitude(x.eigenvectors, x.eigenvectors_cotangent);
    const auto largest = cotangent_scale(x.eigenvalues, x.eigenvalues_cotangent, x.eigenvectors_cotangent);
    inner.W = at::matmul(x.eigenvectors.mH(), x.eigenvectors_cotangent);
    inner.pairs = differentiate_quotient(
        skew_hermitian_part(inner.W),
        {magnitude, largest},
        x.eigenvalues,
        Denominator::difference,
        rule);
    inner.Q = inner.pairs.quotient;
  }
  if (x.eigenvalues_cotangent.defined()) {
    const auto diagonal = at::diag_embed(x.eigenvalues_cotangent);
    inner.Q = inner.Q.defined() ? inner.Q + diagonal : diagonal.to(x.eigenvectors.scalar_type());
  }
  return inner;
}

EighVjpArguments eigh_vjp_vjp(const Tensor& cotangent, const EighVjpArguments& x, const EighVjpInner& inner) {
  const auto& V = x.eigenvectors;
  const auto T = at::matmul(V.mH(), at::matmul(hermitian_part(cotangent), V));
  EighVjpArguments result;
  result.eigenvalues_cotangent = at::real(T.diagonal(0, -2, -1));
  auto turned = 2 * at::matmul(T, inner.Q);
  if (inner.W.defined()) {
    const auto Z = inner.pairs.factor * T;
    result.eigenvectors_cotangent = at::matmul(V, Z);
    result.eigenvalues = 2 * at::real(T.conj() * inner.pairs.slope).sum({-2}) / inner.pairs.unit.squeeze(-1);
    turned = turned - at::matmul(inner.W, Z);
  }
  result.eigenvectors = at::matmul(V, turned);
  return result;
}

Tensor eigh_vjp_jvp(const EighVjpArguments& tangents, const EighVjpArguments& x, const EighVjpInner& inner) {
  const auto& V = x.eigenvectors;
  Tensor result;
  Tensor dW;
  if (tangents.eigenvalues_cotangent.defined()) {
    result = at::diag_embed(tangents.eigenvalues_cotangent).to(V.scalar_type());
  }
  if (tangents.eigenvectors_cotangent.defined()) {
    dW = at::matmul(V.mH(), tangents.eigenvectors_cotangent);
  }
  if (tangents.eigenvectors.defined()) {
    const auto R = at::matmul(V.mH(), tangents.eigenvectors);
    result = sum_of_defined(result, 2 * hermitian_part(at::matmul(R, inner.Q)));
    if (inner.W.defined()) {
      dW = sum_of_defined(dW, at::matmul(R.mH(), inner.W));
    }
  }
  if (inner.W.defined() && dW.defined()) {
    result = sum_of_defined(result, inner.pairs.factor * skew_hermitian_part(dW));
  }
  if (inner.W.defined() && tangents.eigenvalues.defined()) {
    const auto dL = tangents.eigenvalues;
    result = sum_of_defined(result, inner.pairs.slope * ((dL.unsqueeze(-2) - dL.unsqueeze(-1)) / inner.pairs.unit));
  }
  return hermitian_part(at::matmul(at::matmul(V, result), V.mH()));
}

} // namespace spectralgrad::math
