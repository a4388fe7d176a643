#include "math/generalized_eigh.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"
#include "math/hermitian_part.h"
#include "math/inverse.h"
#include "math/pairs/judge_cotangents.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::with_second_order_warning;

/// The signs of a type, and the bases P and R in which A and B are diagonal.
struct Type {
  double of_eigenvalues; // of (Lambda Q + Q Lambda)/2
  double of_norm; // of H/2 and C/2
  Tensor P;
  Tensor R;

  Type(int64_t itype, const Tensor& V) : of_eigenvalues(itype == 1 ? -1 : 1), of_norm(itype == 3 ? 1 : -1), P(V), R(V) {
    if (itype != 1) {
      // V is well conditioned compared to B, whose condition number is the square of V's.
      (itype == 2 ? P : R) = inverse(V).mH();
    }
  }
};

/// (lambda_i + lambda_j)/2, (*, n, n)
Tensor means(const Tensor& eigenvalues) {
  const auto half = eigenvalues * 0.5;
  return half.unsqueeze(-1) + half.unsqueeze(-2);
}

/// The largest norm of a column of V, (*, 1, 1). A constant. Products V^H gV grow with it, unlike those of unitary V.
Tensor largest_column(const Tensor& V) {
  const auto sizes = autograd::constant(V).abs();
  const auto largest = sizes.amax({-2, -1}, /*keepdim=*/true);
  return largest * (sizes / largest).square().sum(-2, /*keepdim=*/true).sqrt().amax({-1}, /*keepdim=*/true);
}

Tensor congruence(const Tensor& basis, const Tensor& inner) {
  return hermitian_part(at::matmul(at::matmul(basis, inner), basis.mH()));
}

} // namespace

std::pair<Tensor, Tensor> generalized_eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  const auto [L, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const Type type(itype, V);
  const auto n = V.sym_size(-1);
  if (!eigenvectors_cotangent.defined() || n == 0) {
    const auto diagonal = judge_cotangents(eigenvalues_cotangent, {}, {}, L);
    const auto weighted = [&](const Tensor& basis, const Tensor& weights) {
      return hermitian_part(at::matmul(basis * weights.unsqueeze(-2), basis.mH()));
    };
    return {
        needs_A ? weighted(type.P, diagonal) : Tensor(),
        needs_B ? weighted(type.R, type.of_eigenvalues * L * diagonal) : Tensor()};
  }
  const auto W = at::matmul(V.mH(), eigenvectors_cotangent);
  const auto magnitude = cotangent_magnitude(V, eigenvectors_cotangent);
  const auto diagonal = judge_cotangents(eigenvalues_cotangent, W, magnitude, L);
  const auto scaled = autograd::constant(eigenvectors_cotangent) * largest_column(V);
  const CotangentSizes sizes{magnitude, cotangent_scale(L, eigenvalues_cotangent, scaled)};
  const auto Q = divide_cotangent(skew_hermitian_part(W), sizes, L, Denominator::difference, rule) +
      at::diag_embed(diagonal);
  const auto inner_of_B = [&] {
    return type.of_eigenvalues * means(L) * Q + type.of_norm * 0.5 * hermitian_part(W);
  };
  return {needs_A ? congruence(type.P, Q) : Tensor(), needs_B ? congruence(type.R, inner_of_B()) : Tensor()};
}

std::pair<Tensor, Tensor> generalized_eigh_jvp(
    const Tensor& A_tangent,
    const Tensor& B_tangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    int64_t itype,
    const Rule& rule) {
  const auto [L, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const Type type(itype, V);
  const auto in_basis = [](const Tensor& basis, const Tensor& tangent) {
    return at::matmul(basis.mH(), at::matmul(hermitian_part(tangent), basis));
  };
  Tensor M = A_tangent.defined() ? in_basis(type.P, A_tangent) : Tensor();
  Tensor C;
  if (B_tangent.defined()) {
    C = in_basis(type.R, B_tangent);
    const auto part = type.of_eigenvalues * means(L) * C;
    M = M.defined() ? M + part : part;
  }
  auto X = divide_tangent(M, L, Denominator::difference, rule);
  if (C.defined()) {
    X = X + type.of_norm * 0.5 * C;
  }
  return {at::real(M.diagonal(0, -2, -1)), at::matmul(V, X)};
}

void judge_generalized_eigh(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors) {
  if (!eigenvectors_cotangent.defined()) {
    judge_cotangents(eigenvalues_cotangent, {}, {}, eigenvalues);
    return;
  }
  judge_cotangents(
      eigenvalues_cotangent,
      at::matmul(eigenvectors.mH(), eigenvectors_cotangent),
      cotangent_magnitude(eigenvectors, eigenvectors_cotangent),
      eigenvalues);
}

} // namespace spectralgrad::math
