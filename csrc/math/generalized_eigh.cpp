#include "math/generalized_eigh.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"
#include "math/hermitian_part.h"
#include "math/inverse.h"
#include "math/kept_rows.h"
#include "math/pairs/amplification.h"
#include "math/pairs/judge_cotangents.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::with_second_order_warning;

/// V^-H. V is well conditioned compared to B, whose condition number is the square of V's.
Tensor dual(const Tensor& V) {
  return inverse(V).mH();
}

/// The signs of a type, and the bases P and R in which A and B are diagonal.
struct Type {
  double of_eigenvalues; // of (Lambda Q + Q Lambda)/2
  double of_norm; // of H/2 and C/2
  Tensor P;
  Tensor R;

  Type(int64_t itype, const Tensor& V) : of_eigenvalues(itype == 1 ? -1 : 1), of_norm(itype == 3 ? 1 : -1), P(V), R(V) {
    if (itype != 1) {
      (itype == 2 ? P : R) = dual(V);
    }
  }
};

Tensor amplification_of(int64_t itype, const Tensor& V, const Tensor& B_diagonal) {
  return amplification(B_diagonal, itype == 3 ? dual(autograd::constant(V)) : V);
}

/// (lambda_i + lambda_j)/2, (*, n, c), for the columns j with the eigenvalues `kept`.
Tensor means(const Tensor& eigenvalues, const Tensor& kept) {
  return (eigenvalues * 0.5).unsqueeze(-1) + (kept * 0.5).unsqueeze(-2);
}

/// W = V^H gV (*, n, c) and the table N of these columns; both are undefined if gV is.
struct Products {
  Tensor W;
  Tensor magnitude;

  Products(const Tensor& V, const Tensor& gV, const c10::SymInt& first) {
    if (gV.defined()) {
      W = product_with_columns(V.mH(), gV);
      const auto sizes = product_with_columns(autograd::constant(V).abs().mT(), autograd::constant(gV).abs());
      magnitude = magnitude_columns(sizes, first);
    }
  }
};

/// The Hermitian part of basis inner basis_c^H, for the columns c that `inner` has.
Tensor congruence(const Tensor& basis, const Tensor& basis_c, const Tensor& inner) {
  return hermitian_part(at::matmul(product_with_columns(basis, inner), basis_c.mH()));
}

/// The same for a diagonal `inner`.
Tensor diagonal_congruence(const Tensor& basis_c, const Tensor& diagonal) {
  return hermitian_part(at::matmul(basis_c * diagonal.unsqueeze(-2), basis_c.mH()));
}

} // namespace

std::pair<Tensor, Tensor> generalized_eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  const auto growth = amplification_of(itype, saved_eigenvectors, B_diagonal);
  const auto [L, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors, growth);
  const Type type(itype, V);
  const auto& any = eigenvectors_cotangent.defined() ? eigenvectors_cotangent : eigenvalues_cotangent;
  const auto kept = [&, count = any.sym_size(-1)](const Tensor& x) {
    return x.slice_symint(-1, first, first + count);
  };
  const auto P = kept(type.P);
  const auto R = kept(type.R);
  const auto kept_L = kept(L);
  if (!eigenvectors_cotangent.defined() || kept_L.sym_size(-1) == 0) {
    const auto diagonal = judge_cotangents(eigenvalues_cotangent, {}, {}, L, first, growth);
    return {
        needs_A ? diagonal_congruence(P, diagonal) : Tensor(),
        needs_B ? diagonal_congruence(R, type.of_eigenvalues * kept_L * diagonal) : Tensor()};
  }
  const Products products(V, eigenvectors_cotangent, first);
  const auto& [W, magnitude] = products;
  const auto diagonal = judge_cotangents(eigenvalues_cotangent, W, magnitude, L, first, growth);
  // Products V^H gV grow with the columns of V, which have norm 1 only for unitary V.
  const auto scaled = autograd::constant(eigenvectors_cotangent) * largest_column_norm(V);
  const auto largest = cotangent_scale(L, eigenvalues_cotangent, scaled);
  const auto divided = divide_cotangent(
      skew_hermitian_columns(W, first),
      {magnitude, largest, growth},
      L,
      Denominator::difference,
      rule,
      first);
  // Q, with the kept rows of a Hermitian matrix and twice the others.
  const auto Q = in_kept_rows(
      divided,
      first,
      [&](const Tensor& x) { return x + at::diag_embed(diagonal); },
      [](const Tensor& x) { return 2 * x; });
  const auto inner_of_B = [&] {
    return type.of_eigenvalues * means(L, kept_L) * Q + type.of_norm * 0.5 * products.W;
  };
  return {needs_A ? congruence(type.P, P, Q) : Tensor(), needs_B ? congruence(type.R, R, inner_of_B()) : Tensor()};
}

std::pair<Tensor, Tensor> generalized_eigh_jvp(
    const Tensor& A_tangent,
    const Tensor& B_tangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    const Rule& rule) {
  const auto growth = amplification_of(itype, saved_eigenvectors, B_diagonal);
  const auto [L, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors, growth);
  const Type type(itype, V);
  const auto in_basis = [](const Tensor& basis, const Tensor& tangent) {
    return at::matmul(basis.mH(), at::matmul(hermitian_part(tangent), basis));
  };
  Tensor M = A_tangent.defined() ? in_basis(type.P, A_tangent) : Tensor();
  Tensor C;
  if (B_tangent.defined()) {
    C = in_basis(type.R, B_tangent);
    const auto part = type.of_eigenvalues * means(L, L) * C;
    M = M.defined() ? M + part : part;
  }
  auto X = divide_tangent(M, L, Denominator::difference, rule, growth);
  if (C.defined()) {
    X = X + type.of_norm * 0.5 * C;
  }
  return {at::real(M.diagonal(0, -2, -1)), at::matmul(V, X)};
}

void judge_generalized_eigh(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& B_diagonal,
    int64_t itype,
    const c10::SymInt& first) {
  const Products products(eigenvectors, eigenvectors_cotangent, first);
  judge_cotangents(
      eigenvalues_cotangent,
      products.W,
      products.magnitude,
      eigenvalues,
      first,
      amplification_of(itype, eigenvectors, B_diagonal));
}

} // namespace spectralgrad::math
