#pragma once

#include "math/pairs/pairs.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <array>

namespace spectralgrad::kernels {

/// The matrices of `math::EighVjpInner`, (*, n, n).
struct EighVjpInner {
  at::Tensor W; // V^H gV
  math::DifferentiatedQuotient pairs; // of S; the quotient has diag(g_lambda) on its diagonal
};

/// Does the same as `math::eigh_vjp_inner`, by one matrix product and one pass over all pairs. For CPU matrices with
/// n >= 1. `x` are g_lambda, which may be undefined, gV, the eigenvalues and the eigenvectors. The results are not
/// differentiable.
EighVjpInner eigh_vjp_inner(const std::array<at::Tensor, 4>& x, const Rule& rule);

} // namespace spectralgrad::kernels
