#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace spectralgrad::kernels {

/// The gradient (*, n, n) of `eig`, and the matrices for which it has no meaning yet.
struct EigGradient {
  at::Tensor gradient;
  /// Indices in the batch, ascending. Their eigenvectors are nearly parallel, which `math::eig_vjp` takes care of.
  std::vector<int64_t> left_out;
};

/// Whether `eig_vjp` supports eigenvectors `V`.
bool supports_eig_vjp(const at::Tensor& V);

/// Computes `math::eig_vjp`, one matrix on each thread, and reports losses without a gradient. `A` is the decomposed
/// matrix. Either cotangent may be undefined, but not both.
EigGradient eig_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& A,
    const Rule& rule);

} // namespace spectralgrad::kernels
