#include "math/eigh.h"

#include "autograd/second_order.h"
#include "math/hermitian_part.h"
#include "math/pairs/judge_cotangents.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

namespace spectralgrad::math {

using at::Tensor;
using autograd::with_second_order_warning;

Tensor eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Rule& rule) {
  const auto [eigenvalues, eigenvectors] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  if (!eigenvectors_cotangent.defined()) {
    if (!eigenvalues_cotangent.defined()) {
      return {};
    }
    const auto judged = judge_cotangents(eigenvalues_cotangent, {}, {}, eigenvalues);
    return hermitian_part(at::matmul(eigenvectors * judged.unsqueeze(-2), eigenvectors.mH()));
  }
  const auto W = at::matmul(eigenvectors.mH(), eigenvectors_cotangent);
  const auto magnitude = cotangent_magnitude(eigenvectors, eigenvectors_cotangent);
  const auto diagonal = judge_cotangents(eigenvalues_cotangent, W, magnitude, eigenvalues);
  const CotangentSizes sizes{magnitude, cotangent_scale(eigenvalues, eigenvalues_cotangent, eigenvectors_cotangent)};
  const auto divided = divide_cotangent(skew_hermitian_part(W), sizes, eigenvalues, Denominator::difference, rule);
  const auto inner = divided + at::diag_embed(diagonal);
  return hermitian_part(at::matmul(at::matmul(eigenvectors, inner), eigenvectors.mH()));
}

std::pair<Tensor, Tensor> eigh_jvp(
    const Tensor& tangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Rule& rule) {
  const auto [eigenvalues, eigenvectors] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const auto X = at::matmul(eigenvectors.mH(), at::matmul(hermitian_part(tangent), eigenvectors));
  const auto divided = divide_tangent(X, eigenvalues, Denominator::difference, rule);
  return {at::real(X.diagonal(0, -2, -1)), at::matmul(eigenvectors, divided)};
}

Tensor eigvalsh_jvp(const Tensor& tangent, const Tensor& saved_eigenvalues, const Tensor& saved_eigenvectors) {
  const auto V = with_second_order_warning(saved_eigenvalues, saved_eigenvectors).second;
  return at::real((V.conj() * at::matmul(hermitian_part(tangent), V)).sum(-2));
}

} // namespace spectralgrad::math
