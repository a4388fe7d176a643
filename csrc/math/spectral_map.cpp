#include "math/spectral_map.h"

#include "math/hermitian_part.h"
#include "math/judge_rotations.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace spectralgrad::math {

using at::Tensor;

Tensor rotated_eigenpairs_vjp(
    const RotatedEigenpairs& cotangents,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const auto& [eigenvalues_cotangent, eigenvectors_cotangent, rotated_cotangent, rotated_vectors_cotangent] =
      cotangents;
  auto inner = at::zeros_like(eigenvectors);
  if (eigenvectors_cotangent.defined()) {
    const auto W = at::matmul(eigenvectors.mH(), eigenvectors_cotangent);
    const CotangentSizes sizes{
        cotangent_magnitude(eigenvectors, eigenvectors_cotangent),
        cotangent_scale(eigenvalues, eigenvalues_cotangent, eigenvectors_cotangent)};
    const auto S = skew_hermitian_part(W);
    inner = inner + divide_cotangent(S, sizes, eigenvalues, Denominator::difference, Rule::gated());
  }
  if (eigenvalues_cotangent.defined()) {
    inner = inner + at::diag_embed(eigenvalues_cotangent);
  }
  if (rotated_cotangent.defined() || rotated_vectors_cotangent.defined()) {
    const auto partners = judge_rotations(cotangents, eigenvalues, eigenvectors, rounds);
    const auto found = rotated_cotangent.defined()
        ? lost_entries(rotated_cotangent, partners, eigenvectors.is_complex())
        : at::zeros_like(inner);
    inner = at::where(meetings(partners).any(-3), found, inner);
  }
  return hermitian_part(at::matmul(at::matmul(eigenvectors, inner), eigenvectors.mH()));
}

RotatedEigenpairs rotated_eigenpairs_jvp(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const auto X = at::matmul(eigenvectors.mH(), at::matmul(hermitian_part(tangent), eigenvectors));
  const auto partners = judge_rotations({}, eigenvalues, eigenvectors, rounds);
  const auto met = meetings(partners);
  const auto divided = divide_tangent(X, eigenvalues, Denominator::difference, Rule::gated());
  const auto off_diagonal = at::where(met.any(-3), at::zeros_like(X), divided);
  return {
      at::real(X.diagonal(0, -2, -1)),
      at::matmul(eigenvectors, off_diagonal),
      rotated_eigenvalue_tangents(X, partners),
      Tensor()};
}

} // namespace spectralgrad::math
