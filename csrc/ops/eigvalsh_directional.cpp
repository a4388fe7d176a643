#include <spectralgrad/eigvalsh_directional.h>

#include "autograd/constant.h"
#include "core/caller_name.h"
#include "core/tolerances.h"
#include "ops/arguments.h"
#include "ops/check_rtol.h"
#include "ops/hermitian.h"

#include <spectralgrad/eigh.h>
#include <spectralgrad/rule.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;

constexpr const char* eigvalsh_directional_name = "eigvalsh_directional";

void check_directional_arguments(const Tensor& A, const Tensor& E, const std::optional<double>& rtol) {
  ops::check_square_matrix(eigvalsh_directional_name, A);
  ops::check_square_matrix(eigvalsh_directional_name, E, "E");
  const auto wrong = ops::mismatch(A, E, "size", "E");
  TORCH_CHECK(wrong.empty(), "spectralgrad.eigvalsh_directional: ", wrong);
  ops::check_rtol(eigvalsh_directional_name, rtol);
}

/// The number of the cluster of each eigenvalue (*, n), ascending.
Tensor cluster_numbers(const Tensor& eigenvalues, const std::optional<double>& rtol) {
  const auto L = autograd::constant(eigenvalues);
  const auto reach = rtol.value_or(tolerances::same_eigenvalue * tolerances::eps(L.scalar_type()));
  const auto apart = L.diff() > reach * L.abs().amax({-1}, /*keepdim=*/true);
  return at::constant_pad_nd(apart.to(L.scalar_type()).cumsum(-1), {1, 0});
}

} // namespace

Tensor eigvalsh_directional(const Tensor& A, const Tensor& E, std::optional<double> rtol) {
  check_directional_arguments(A, E, rtol);
  const CallerNameGuard guard(eigvalsh_directional_name);
  // Not the current rule: `Split` would move the eigenvalues of clusters apart.
  // Compiled code runs `eigh` later, without the name of the caller, so A is checked here.
  const auto [L, V] = eigh(ops::hermitian(A, eigvalsh_directional_name, "A"), "L", Rule::gated());
  const auto direction = ops::hermitian(E, eigvalsh_directional_name, "E");
  if (A.sym_size(-1) == 0) {
    return at::real(at::matmul(direction, V).sum(-2));
  }
  const auto numbers = cluster_numbers(L, rtol);
  const auto X = at::matmul(V.mH(), at::matmul(direction, V));
  const auto blocks = at::where(numbers.unsqueeze(-1) == numbers.unsqueeze(-2), X, at::zeros_like(X));
  // One decomposition for all blocks: shifts sort their eigenvalues by cluster. The shifts cost digits of eigenvalues
  // but not of eigenvectors, so the result is made of these.
  const auto size = autograd::constant(blocks).abs().sum(-1).amax({-1}, /*keepdim=*/true);
  const auto shifts = numbers * 3 * at::where(size == 0, at::ones_like(size), size);
  const auto Y = std::get<1>(eigh(blocks + at::diag_embed(shifts).to(blocks.scalar_type()), "L", Rule::gated()));
  return at::real((Y.conj() * at::matmul(blocks, Y)).sum(-2));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("eigvalsh_directional(Tensor A, Tensor E, float? rtol=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("eigvalsh_directional", eigvalsh_directional);
}

} // namespace spectralgrad
