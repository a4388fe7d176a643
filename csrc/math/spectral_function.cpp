#include "math/spectral_function.h"

#include "core/report.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// V^H E V of the Hermitian part of E.
Tensor in_eigenbasis(const Tensor& E, const Tensor& V) {
  return at::matmul(V.mH(), at::matmul(hermitian_part(E), V));
}

Tensor from_eigenbasis(const Tensor& inner, const Tensor& V) {
  return hermitian_part(at::matmul(at::matmul(V, inner), V.mH()));
}

/// The size of each matrix (*, 1, 1).
Tensor norm(const Tensor& X) {
  return at::linalg_vector_norm(X, 2, {-2, -1}, /*keepdim=*/true);
}

/// Whether any of `left_out`, entries of factors of `size` (*, 1, 1), is more than rounding; says so.
void judge_left_out(const ScalarFunction& f, const Tensor& left_out, const Tensor& size) {
  if (checks() == Checks::ignore) {
    return;
  }
  const auto tolerance = tolerances::gauge(left_out.scalar_type()) * size;
  const auto lost = left_out.abs().flatten(size.dim() - 2) > tolerance.flatten(-2);
  const auto matrices = lost.any(-1).reshape({-1}).nonzero();
  if (matrices.numel() > 0) {
    warn_of_infinite_derivative(f, matrices[0].item<int64_t>());
  }
}

/// `differences` o `factor`, (*, n, n) or (*, n, n, count), without the entries where a difference is infinite because an
/// eigenvalue is zero.
Tensor finite_product(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& differences,
    const Tensor& factor,
    const Tensor& size) {
  if (!is_singular_at_zero(f)) {
    return differences * factor;
  }
  const auto noise = tolerances::zero_eigenvalue(eigenvalues.scalar_type(), eigenvalues.size(-1)) *
      eigenvalues.abs().amax(-1);
  auto singular = eigenvalues.select(-1, 0) <= noise;
  if (!singular.any().item<bool>()) {
    return differences * factor;
  }
  while (singular.dim() < differences.dim()) {
    singular = singular.unsqueeze(-1);
  }
  const auto infinite = at::isinf(differences).logical_and(singular);
  judge_left_out(f, factor.masked_fill(infinite.logical_not(), 0), size);
  return differences.masked_fill(infinite, 0) * factor;
}

Tensor second_order(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y) {
  const auto n = eigenvalues.size(-1);
  auto sum = at::zeros_like(X);
  // n^3 differences, a few million at a time.
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, X.numel()));
  const auto size = norm(X) * norm(Y);
  const SecondDifferences all(f, eigenvalues);
  for (int64_t start = 0; start < n; start += step) {
    const auto count = std::min(step, n - start);
    const auto differences = all.slice(start, count);
    const auto left = [&](const Tensor& M) {
      return M.narrow(-1, start, count).unsqueeze(-2);
    };
    const auto right = [&](const Tensor& M) {
      return M.narrow(-2, start, count).mT().unsqueeze(-3);
    };
    sum += finite_product(f, eigenvalues, differences, left(X) * right(Y) + left(Y) * right(X), size).sum(-1);
  }
  return sum;
}

} // namespace

void require_derivatives(const ScalarFunction& f) {
  TORCH_CHECK(
      f.name != "jets" || !f.jets.defined() || f.jets.size(-2) > 1,
      "spectralgrad.funm: Expected df and d2f to be given where a function is exported and differentiated, but only f is known");
}

void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix) {
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          f.name == "sqrt" ? "sqrtm" : "powm",
          ": A is singular (matrix ",
          matrix,
          " of the batch), and its derivative is infinite along directions inside the kernel. That part is left out: what is "
          "given is the derivative among matrices of the same kernel."));
}

Tensor spectral_function(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  if (eigenvectors.numel() == 0) {
    return at::zeros_like(eigenvectors, at::MemoryFormat::Contiguous);
  }
  if (directions.empty()) {
    const auto y = values(f, eigenvalues);
    return hermitian_part(at::matmul(eigenvectors * y.unsqueeze(-2), eigenvectors.mH()));
  }
  require_derivatives(f);
  const auto X = in_eigenbasis(directions[0], eigenvectors);
  if (directions.size() == 1) {
    const auto differences = first_differences(f, eigenvalues);
    return from_eigenbasis(finite_product(f, eigenvalues, differences, X, norm(X)), eigenvectors);
  }
  return from_eigenbasis(second_order(f, eigenvalues, X, in_eigenbasis(directions[1], eigenvectors)), eigenvectors);
}

Tensor spectral_function_transposed(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  if (eigenvectors.numel() == 0) {
    return at::zeros_like(f.jets, at::MemoryFormat::Contiguous);
  }
  const auto X = in_eigenbasis(directions[0], eigenvectors);
  if (directions.size() == 2) {
    const auto Y = in_eigenbasis(directions[1], eigenvectors);
    return first_differences_transposed(f, eigenvalues, at::real(X.conj() * Y));
  }
  const auto order = f.jets.size(-2) - 1;
  const auto diagonal = at::real(X.diagonal(0, -2, -1)).unsqueeze(-2);
  auto shape = diagonal.sizes().vec();
  shape[shape.size() - 2] = order;
  return at::cat({diagonal, at::zeros(shape, diagonal.options())}, -2);
}

} // namespace spectralgrad::math
