#include "math/eigh_subset.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"
#include "math/hermitian_part.h"
#include "math/kept_rows.h"
#include "math/pairs/judge_cotangents.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

#include <tuple>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;

/// What the derivative of c eigenpairs, from the index `first` on, consists of.
struct Subset {
  Tensor eigenvalues; // (*, n)
  Tensor V; // (*, n, n)
  Tensor kept; // V_c (*, n, c)
  Tensor diagonal; // g_lambda (*, c), zero if it is undefined
  Tensor W; // V^H gV_c (*, n, c), and
  Tensor inner; // D (*, n, c); both are undefined if gV is

  Subset(
      const Tensor& eigenvalues_cotangent,
      const Tensor& eigenvectors_cotangent,
      const Tensor& saved_eigenvalues,
      const Tensor& saved_eigenvectors,
      const c10::SymInt& first,
      const Rule& rule,
      bool orthonormal) {
    std::tie(eigenvalues, V) = autograd::with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
    const auto& any = eigenvectors_cotangent.defined() ? eigenvectors_cotangent : eigenvalues_cotangent;
    kept = V.slice_symint(-1, first, first + any.sym_size(-1));
    if (!eigenvectors_cotangent.defined() || kept.sym_size(-1) == 0) {
      diagonal = judge_cotangents(eigenvalues_cotangent, {}, {}, eigenvalues, first);
      return;
    }
    W = product_with_columns(V.mH(), eigenvectors_cotangent);
    const auto sizes = constant(V).abs();
    const auto magnitude = magnitude_columns(
        product_with_columns(sizes.mT(), constant(eigenvectors_cotangent).abs()),
        first);
    diagonal = judge_cotangents(eigenvalues_cotangent, W, magnitude, eigenvalues, first);
    auto largest = cotangent_scale(eigenvalues, eigenvalues_cotangent, eigenvectors_cotangent);
    if (!orthonormal) {
      largest = largest * at::linalg_vector_norm(sizes, 2, -2, /*keepdim=*/true).amax({-1}, /*keepdim=*/true);
    }
    const auto divided = divide_cotangent(
        skew_hermitian_columns(W, first),
        {magnitude, largest},
        eigenvalues,
        Denominator::difference,
        rule,
        first);
    inner = in_kept_rows(
        divided,
        first,
        [&](const Tensor& x) { return x + at::diag_embed(diagonal); },
        [](const Tensor& x) { return 2 * x; });
  }

  /// The Hermitian part of V D V_c^H.
  Tensor with_inner(const Tensor& D) const {
    return hermitian_part(at::matmul(product_with_columns(V, D), kept.mH()));
  }

  /// The same if D is diagonal in the kept rows, and zero in the others.
  Tensor with_diagonal(const Tensor& D) const {
    return hermitian_part(at::matmul(kept * D.unsqueeze(-2), kept.mH()));
  }
};

} // namespace

Tensor eigh_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  const Subset subset(
      eigenvalues_cotangent,
      eigenvectors_cotangent,
      eigenvalues,
      eigenvectors,
      first,
      rule,
      /*orthonormal=*/true);
  return subset.inner.defined() ? subset.with_inner(subset.inner) : subset.with_diagonal(subset.diagonal);
}

std::pair<Tensor, Tensor> generalized_subset_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const c10::SymInt& first,
    const Rule& rule) {
  const Subset subset(
      eigenvalues_cotangent,
      eigenvectors_cotangent,
      eigenvalues,
      eigenvectors,
      first,
      rule,
      /*orthonormal=*/false);
  const auto kept = subset.eigenvalues.slice_symint(-1, first, first + subset.kept.sym_size(-1));
  if (!subset.inner.defined()) {
    return {subset.with_diagonal(subset.diagonal), -subset.with_diagonal(subset.diagonal * kept)};
  }
  const auto means = 0.5 * (subset.eigenvalues.unsqueeze(-1) + kept.unsqueeze(-2));
  return {subset.with_inner(subset.inner), -subset.with_inner(means * subset.inner + 0.5 * subset.W)};
}

std::pair<Tensor, Tensor> generalized_jvp(
    const Tensor& A_tangent,
    const Tensor& B_tangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Rule& rule) {
  const auto [eigenvalues, V] = autograd::with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const auto in_basis = [&V = V](const Tensor& X) {
    return at::matmul(V.mH(), at::matmul(hermitian_part(X), V));
  };
  Tensor turn;
  Tensor b;
  if (A_tangent.defined()) {
    turn = in_basis(A_tangent);
  }
  if (B_tangent.defined()) {
    b = in_basis(B_tangent);
    const auto means = 0.5 * (eigenvalues.unsqueeze(-1) + eigenvalues.unsqueeze(-2));
    turn = turn.defined() ? turn - means * b : -means * b;
  }
  auto inner = divide_tangent(turn, eigenvalues, Denominator::difference, rule);
  if (b.defined()) {
    inner = inner - 0.5 * b;
  }
  return {at::real(turn.diagonal(0, -2, -1)), at::matmul(V, inner)};
}

} // namespace spectralgrad::math
