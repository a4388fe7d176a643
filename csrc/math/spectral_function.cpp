#include "math/spectral_function.h"

#include "core/report.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
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

/// The largest entry of each X (*, n, n) between eigenvectors of the kernel (*, n), as a fraction of X's norm: (*).
Tensor kernel_fraction(const Tensor& kernel, const Tensor& X, bool trace_is_exempt) {
  const auto largest = X.abs().amax({-2, -1}, /*keepdim=*/true);
  const auto entries = X / at::where(largest > 0, largest, at::ones_like(largest));
  auto block = entries.masked_fill(kernel.unsqueeze(-1).logical_and(kernel.unsqueeze(-2)).logical_not(), 0);
  if (trace_is_exempt) {
    const auto count = kernel.sum(-1, /*keepdim=*/true).clamp_min(1);
    const auto mean = at::real(block.diagonal(0, -2, -1)).sum(-1, /*keepdim=*/true) / count;
    block = block - at::diag_embed(mean * kernel);
  }
  return block.abs().amax({-2, -1}) / norm(entries).squeeze(-1).squeeze(-1);
}

/// Reports a derivative along X, and Y for a second one, that is infinite, because a direction has a part inside the kernel.
void judge_kernel_parts(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y = {}) {
  const auto kind = direction_kind(f);
  const auto finite = finite_derivatives_at_zero(f);
  if (checks() == Checks::ignore || kind == DirectionKind::change || finite > (Y.defined() ? 1 : 0)) {
    return;
  }
  const auto kernel = singular_eigenvalues(f, eigenvalues);
  if (!kernel.defined() || !kernel.any().item<bool>()) {
    return;
  }
  // With one finite derivative only f[0,0,0] is infinite.
  const bool both = finite == 1;
  const bool last_is_tangent = kind == DirectionKind::tangent;
  auto fraction = kernel_fraction(kernel, X, !both && (Y.defined() || !last_is_tangent));
  if (Y.defined()) {
    const auto other = kernel_fraction(kernel, Y, !both && !last_is_tangent);
    fraction = both ? fraction * other : at::maximum(fraction, other);
  }
  const auto matrices = (fraction > tolerances::gauge(fraction.scalar_type())).reshape({-1}).nonzero();
  if (matrices.numel() > 0) {
    warn_of_infinite_derivative(f, matrices[0].item<int64_t>());
  }
}

/// Says if X, a direction in the eigenbasis, looks inside a degenerate level that is filled in part: if its block there is more
/// than a multiple of the identity.
void judge_look_inside_level(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X) {
  if (checks() == Checks::ignore) {
    return;
  }
  const auto y = f.jets.select(-2, 0);
  const auto partly = (y != 0).logical_and(y != 1).to(y.dtype());
  const auto block = partly.unsqueeze(-1) * partly.unsqueeze(-2);
  const auto multiplicity = partly.sum(-1);
  const auto mean = (at::real(X.diagonal(0, -2, -1)) * partly).sum(-1) / multiplicity.clamp_min(1);
  const auto inside = (X - at::diag_embed(partly * mean.unsqueeze(-1))) * block;
  const auto size = inside.abs().amax(at::IntArrayRef{-2, -1});
  // All of the direction may be rounding of a matrix, or of occupations.
  const auto rounding = tolerances::cancelled_cotangent(y.scalar_type()) * eigenvalues.abs().amax(-1).clamp_min(1);
  const auto tolerance = at::maximum(tolerances::gauge(y.scalar_type()) * norm(X).squeeze(-1).squeeze(-1), rounding);
  const auto found = (size > tolerance).reshape({-1}).nonzero();
  if (found.numel() == 0) {
    return;
  }
  const auto matrix = found[0].item<int64_t>();
  const auto level = (eigenvalues * partly).sum(-1) / multiplicity;
  warn_or_raise(
      c10::str(
          "spectralgrad.density_matrix: The loss or the perturbation looks inside the level ",
          level.expand(size.sizes()).reshape({-1})[matrix].item<double>(),
          " of multiplicity ",
          multiplicity.expand(size.sizes()).reshape({-1})[matrix].item<double>(),
          " of matrix ",
          matrix,
          " of the batch. At kT = 0 that level is filled in part, so there is no derivative where it splits. That part is left "
          "out: what is given is the derivative at equal fractions. At kT > 0 there is a derivative."));
}

Tensor second_order(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y) {
  const auto n = eigenvalues.size(-1);
  auto sum = at::zeros_like(X);
  // n^3 differences, a few million at a time.
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, X.numel()));
  judge_kernel_parts(f, eigenvalues, X, Y);
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
    sum += (differences * (left(X) * right(Y) + left(Y) * right(X))).sum(-1);
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
  const auto* name = f.name == "sqrt" ? "sqrtm" : f.name == "power" ? "powm" : "funm";
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          name,
          ": A is singular (matrix ",
          matrix,
          " of the batch), and its derivative is infinite along directions inside the kernel. That part is left out: what is "
          "given is the derivative among matrices of the same rank."));
}

bool has_partly_filled_level(const ScalarFunction& f) {
  if (f.name != "steps") {
    return false;
  }
  const auto y = f.jets.select(-2, 0);
  return (y != 0).logical_and(y != 1).any().item<bool>();
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
  const bool judge_level = has_partly_filled_level(f);
  if (judge_level) {
    judge_look_inside_level(f, eigenvalues, X);
  }
  if (directions.size() == 1) {
    judge_kernel_parts(f, eigenvalues, X);
    return from_eigenbasis(first_differences(f, eigenvalues) * X, eigenvectors);
  }
  const auto Y = in_eigenbasis(directions[1], eigenvectors);
  if (judge_level) {
    judge_look_inside_level(f, eigenvalues, Y);
  }
  return from_eigenbasis(second_order(f, eigenvalues, X, Y), eigenvectors);
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
