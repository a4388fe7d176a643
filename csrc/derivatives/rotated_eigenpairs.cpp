#include "derivatives/rotated_eigenpairs.h"

#include "derivatives/constant.h"
#include "derivatives/gaps.h"
#include "derivatives/judge_rotations.h"
#include "kernels/cluster_pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

namespace spectralgrad::derivatives {
namespace {

using at::Tensor;

Tensor hermitian_part(const Tensor& M) {
  return (M + M.mH()) * 0.5;
}

/// Each position's own place: made of them, so that tensor subclasses (sharded ones) give one of their own.
Tensor places_of(const Tensor& partners) {
  return at::ones_like(partners).cumsum(-1) - 1;
}

/// Of positions (*, rounds, n): 1 where the partner comes later, -1 where it comes first, 0 where there is none.
Tensor sign_of(const Tensor& partners, const Tensor& like) {
  const auto places = places_of(partners);
  return (partners > places).to(like.dtype()) - (partners < places).to(like.dtype());
}

/// (*, rounds, n, n), bool: whether j is the partner of i.
Tensor meets(const Tensor& partners) {
  const auto places = places_of(partners);
  return (partners.unsqueeze(-1) == places.unsqueeze(-2)).logical_and((partners != places).unsqueeze(-1));
}

/// Columns of V (*, n, n) at positions (*, m, n): (*, m, n, n).
Tensor columns(const Tensor& V, const Tensor& positions) {
  const auto index = positions.unsqueeze(-2);
  auto shape = index.sizes().vec();
  shape[shape.size() - 2] = V.size(-1);
  return V.unsqueeze(-3).expand(shape).gather(-1, index.expand(shape));
}

/// x (*, n) at positions (*, m, n).
Tensor entries(const Tensor& x, const Tensor& positions) {
  return x.unsqueeze(-2).expand(positions.sizes()).gather(-1, positions);
}

} // namespace

RotatedEigenpairs rotated_eigenpairs(const Tensor& eigenvalues, const Tensor& eigenvectors, int64_t rounds) {
  const auto partners = kernels::partners(eigenvalues, rounds);
  const auto successors = kernels::successors(eigenvalues).unsqueeze(-2);
  const auto means = (eigenvalues.unsqueeze(-2) + entries(eigenvalues, partners)) * 0.5;
  const auto own = eigenvectors.unsqueeze(-3);
  const auto other = columns(eigenvectors, partners);
  const auto sign = sign_of(partners, eigenvalues).unsqueeze(-2);
  // (v_a + z v_b)/sqrt(2) in the place of a, (v_a - z v_b)/sqrt(2) in that of b.
  const auto rotated = [&](const c10::Scalar& z) {
    const auto turned = at::where(sign > 0, own + other * z, other - own * z) * std::sqrt(0.5);
    return at::where(sign == 0, own, turned);
  };
  std::vector<Tensor> values{means};
  std::vector<Tensor> vectors{rotated(1)};
  if (eigenvectors.is_complex()) {
    values.push_back(means);
    vectors.push_back(rotated(c10::complex<double>(0, 1)));
  }
  values.push_back(eigenvalues.unsqueeze(-2));
  vectors.push_back(columns(eigenvectors, successors));
  return {eigenvalues.clone(), eigenvectors.clone(), at::cat(values, -2), at::cat(vectors, -3)};
}

Tensor rotated_eigenpairs_vjp(
    const RotatedEigenpairs& cotangents,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const auto& [eigenvalues_cotangent, eigenvectors_cotangent, rotated_cotangent, rotated_vectors_cotangent] = cotangents;
  auto inner = at::zeros_like(eigenvectors);
  if (eigenvectors_cotangent.defined()) {
    const auto W = at::matmul(eigenvectors.mH(), eigenvectors_cotangent);
    const auto products = at::matmul(eigenvectors.abs().mT(), constant(eigenvectors_cotangent).abs());
    inner = inner + divide_cotangent_by_gaps((W - W.mH()) * 0.5, products + products.mT(), eigenvalues, Rule::gated());
  }
  if (eigenvalues_cotangent.defined()) {
    inner = inner + at::diag_embed(eigenvalues_cotangent);
  }
  if (rotated_cotangent.defined() || rotated_vectors_cotangent.defined()) {
    const auto partners = judge_rotations(cotangents, eigenvalues, eigenvectors, rounds);
    const auto met = meets(partners);
    const auto sign = sign_of(partners, eigenvalues);
    // Half the difference of the two of a pair, the first minus the second, in both their places.
    const auto entry = [&](int64_t set) {
      if (!rotated_cotangent.defined()) {
        return at::zeros_like(sign);
      }
      const auto g = rotated_cotangent.slice(-2, set * rounds, (set + 1) * rounds);
      return (g - g.gather(-1, partners)) * sign * 0.5;
    };
    const auto placed = [&](const Tensor& x) { return (met.to(x.dtype()) * x.unsqueeze(-1)).sum(-3); };
    auto found = placed(entry(0));
    if (eigenvectors.is_complex()) {
      found = at::complex(found, -placed(entry(1) * sign));
    }
    inner = at::where(met.any(-3), found, inner);
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
  const auto met = meets(partners);
  const auto off_diagonal = at::where(
      met.any(-3), at::zeros_like(X), divide_tangent_by_gaps(X, eigenvalues, Rule::gated()));
  const auto of_partner = [&](const Tensor& x) { return (met.to(x.dtype()) * x.unsqueeze(-3)).sum(-1); };
  std::vector<Tensor> values{of_partner(at::real(X)) * sign_of(partners, eigenvalues)};
  if (eigenvectors.is_complex()) {
    values.push_back(-of_partner(at::imag(X)));
  }
  values.push_back(at::zeros_like(eigenvalues).unsqueeze(-2));
  return {at::real(X.diagonal(0, -2, -1)), at::matmul(eigenvectors, off_diagonal), at::cat(values, -2), Tensor()};
}

} // namespace spectralgrad::derivatives
