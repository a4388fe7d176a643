#include "math/inverse.h"

#include "math/is_large.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/geqrf.h>
#include <ATen/ops/linalg_det.h>
#include <ATen/ops/linalg_inv_ex.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_solve_triangular.h>

#include <tuple>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// From about n = 150 on, MKL's getrf uses threads of its own.
bool needs_qr(const Tensor& A) {
  return A.device().is_cpu() && is_large(A);
}

} // namespace

Tensor inverse(const Tensor& A) {
  if (!needs_qr(A)) {
    return std::get<0>(at::linalg_inv_ex(A));
  }
  const auto [Q, R] = at::linalg_qr(A);
  return at::linalg_solve_triangular(R, Q.mH(), /*upper=*/true);
}

Tensor is_improper(const Tensor& W) {
  if (!needs_qr(W)) {
    return at::linalg_det(W) < 0;
  }
  // Each Householder reflection with tau != 0 has the determinant -1.
  const auto [R, tau] = at::geqrf(W);
  const auto signs = (R.diagonal(0, -2, -1) < 0).sum(-1) + (tau != 0).sum(-1);
  return signs.remainder(2) != 0;
}

} // namespace spectralgrad::math
