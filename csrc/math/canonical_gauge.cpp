#include "math/canonical_gauge.h"

#include "math/hermitian_part.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scatter_add.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// V' = V Q with the parts that both derivatives need.
struct Gauge {
  Tensor inside; // (*, c, c), bool: pairs of columns of one cluster
  Tensor rows; // (*, c, c), int64: the pivot of each column, in each row
  Tensor T; // (*, c, c): row i holds the entries of V' in the pivot row of column i
  Tensor Q; // (*, c, c)

  Gauge(const Tensor& V, const Tensor& turned, const Tensor& pivots, const Tensor& clusters)
      : inside(clusters.unsqueeze(-1) == clusters.unsqueeze(-2)),
        rows(pivots.unsqueeze(-1).expand_symint(inside.sym_sizes())),
        T(at_pivots(turned)),
        Q(at::linalg_solve_triangular(T, at_pivots(V), /*upper=*/false).mH()) {} // T = V_p Q and Q Q^H = 1

  Tensor within(const Tensor& X) const {
    return at::where(inside, X, at::zeros_like(X));
  }

  /// The rows of X (*, m, c) at the pivots.
  Tensor at_pivots(const Tensor& X) const {
    return within(X.gather(-2, rows));
  }
};

Tensor diagonal_of(const Tensor& X) {
  return at::diag_embed(X.diagonal(0, -2, -1));
}

} // namespace

Tensor canonical_gauge_jvp(
    const Tensor& tangent,
    const Tensor& V,
    const Tensor& turned,
    const Tensor& pivots,
    const Tensor& clusters) {
  const Gauge gauge(V, turned, pivots, clusters);
  const auto E = at::matmul(tangent, gauge.Q);
  const auto M = at::linalg_solve_triangular(gauge.T, gauge.at_pivots(E), /*upper=*/false);
  const auto upper = M.triu(1);
  const auto Omega = upper.mH() - upper - skew_hermitian_part(diagonal_of(M));
  return E + at::matmul(turned, Omega);
}

Tensor canonical_gauge_vjp(
    const Tensor& cotangent,
    const Tensor& V,
    const Tensor& turned,
    const Tensor& pivots,
    const Tensor& clusters) {
  const Gauge gauge(V, turned, pivots, clusters);
  const auto K = gauge.within(skew_hermitian_part(at::matmul(turned.mH(), cotangent)));
  const auto of_M = K.triu(1) * -2 - diagonal_of(K);
  const auto of_rows = at::linalg_solve_triangular(gauge.T.mH(), of_M, /*upper=*/true);
  const auto of_E = cotangent + at::scatter_add(at::zeros_like(cotangent), -2, gauge.rows, of_rows);
  return at::matmul(of_E, gauge.Q.mH());
}

} // namespace spectralgrad::math
