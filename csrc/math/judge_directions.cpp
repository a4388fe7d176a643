#include "math/judge_directions.h"

#include "core/report.h"
#include "core/tolerances.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/broadcast_tensors.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/util/StringUtil.h>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// The norm of each matrix, (*, 1, 1).
Tensor norm(const Tensor& X) {
  return at::linalg_vector_norm(X, 2, {-2, -1}, /*keepdim=*/true);
}

/// The largest entry of each X (*, n, n) between eigenvectors of the null space `kernel` (*, n), as a fraction of X's
/// norm: (*).
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

/// The mask (*, n) of the eigenvalues that f treats as 0, if f has exactly `finite` finite derivatives there. Undefined
/// if there are none.
Tensor kernel_of(const ScalarFunction& f, const Tensor& eigenvalues, int64_t finite) {
  if (f.name != "powers") {
    return finite_derivatives_at_zero(f) == finite ? singular_eigenvalues(f, eigenvalues) : Tensor();
  }
  if (f.jets.size(-2) <= finite + 1) {
    return {};
  }
  const auto is_finite = f.jets.select(-2, finite).isinf().logical_not();
  return at::isinf(f.jets.select(-2, finite + 1)).logical_and(is_finite).logical_and(eigenvalues == 0);
}

} // namespace

void judge_kernel_parts(const ScalarFunction& f, const Tensor& eigenvalues, const std::vector<Tensor>& X) {
  const auto kind = direction_kind(f);
  if (checks() == Checks::ignore || kind == DirectionKind::change) {
    return;
  }
  const auto count = static_cast<int64_t>(X.size());
  for (int64_t finite = 0; finite < count; ++finite) {
    const auto kernel = kernel_of(f, eigenvalues, finite);
    if (!kernel.defined() || !kernel.any().item<bool>()) {
      continue;
    }
    std::vector<Tensor> fractions;
    for (size_t k = 0; k < X.size(); ++k) {
      const bool is_tangent = k + 1 == X.size() && kind == DirectionKind::tangent;
      fractions.push_back(kernel_fraction(kernel, X[k], /*trace_is_exempt=*/finite == 0 && !is_tangent));
    }
    const auto all = at::stack(at::broadcast_tensors(fractions), 0);
    const auto fraction = std::get<0>(all.sort(0, /*descending=*/true)).narrow(0, 0, finite + 1).prod(0);
    const auto matrices = (fraction > tolerances::gauge(fraction.scalar_type())).reshape({-1}).nonzero();
    if (matrices.numel() > 0) {
      return warn_of_infinite_derivative(f, matrices[0].item<int64_t>());
    }
  }
}

void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix) {
  const auto* name = f.name == "sqrt" ? "sqrtm" : f.name == "power" || f.name == "powers" ? "powm" : "funm";
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          name,
          ": A is singular (matrix ",
          matrix,
          " of the batch), and its derivative is infinite along directions inside the kernel. That part is "
          "left out: what is given is the derivative among matrices of the same rank."));
}

bool has_partly_filled_level(const ScalarFunction& f) {
  if (f.name != "steps") {
    return false;
  }
  const auto y = f.jets.select(-2, 0);
  return (y != 0).logical_and(y != 1).any().item<bool>();
}

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
  // The whole direction may be round-off of a matrix, or of occupations.
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
          " of the batch. At kT = 0 that level is filled in part, so there is no derivative where it splits. "
          "That part is left out: what is given is the derivative at equal fractions. At kT > 0 there is a "
          "derivative."));
}

} // namespace spectralgrad::math
