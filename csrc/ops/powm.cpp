#include <spectralgrad/funm.h>

#include "autograd/constant.h"
#include "autograd/no_autocast.h"
#include "ops/spectral_function.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::Domain;

/// x^p and its derivatives (*, K+1, n), in units of x, at the eigenvalues `x` (*, n), for unit (*, 1) and p (*, n).
/// Differentiable in p. The values are taken at `values_at`, which differs from x at eigenvalues that count as 0 up to
/// round-off.
Tensor jets_of_power(const Tensor& x, const Tensor& values_at, const Tensor& unit, const Tensor& p) {
  const auto constant_p = autograd::recorded_constant(p);
  const auto is_zero = x == 0;
  const auto base = at::where(is_zero, at::ones_like(x), x);
  const auto inverse = unit / base;
  // At 0 every row is a limit and a constant.
  const auto limit = [&](int64_t k, const Tensor& coefficient) {
    const auto order = static_cast<double>(k);
    const auto infinite = coefficient * std::numeric_limits<double>::infinity();
    const auto below = at::where(coefficient == 0, coefficient, infinite);
    const auto at_order = at::where(constant_p == order, coefficient, below);
    return at::where(constant_p > order, at::zeros_like(coefficient), at_order);
  };
  auto powers = base.pow(p);
  std::vector<Tensor> rows{at::where(is_zero, values_at.pow(constant_p), powers)};
  auto coefficient = at::ones_like(p);
  auto constant_coefficient = at::ones_like(constant_p);
  // Higher derivatives overflow in single precision.
  const int64_t order = x.scalar_type() == at::kDouble ? 6 : 4;
  for (int64_t k = 1; k <= order; ++k) {
    const auto factor = p - static_cast<double>(k - 1);
    coefficient = coefficient * factor;
    constant_coefficient = constant_coefficient * (constant_p - static_cast<double>(k - 1));
    powers = powers * inverse;
    rows.push_back(at::where(is_zero, limit(k, constant_coefficient), coefficient * powers));
  }
  return at::stack(rows, -2);
}

/// A^p for a decomposed A. `p` (*) has its batch and precision.
Tensor power_of_eigenpairs(const Tensor& A, const Tensor& eigenvalues, const Tensor& eigenvectors, const Tensor& p) {
  const autograd::NoAutocast no_autocast;
  const auto constant_p = autograd::recorded_constant(p);
  const auto unit = ops::power_of_two_below(eigenvalues);
  const auto x = ops::eigenvalues_of_power("powm", eigenvalues, constant_p);
  // The derivative in p, x^p log(x), tends to 0 at 0. Eigenvalues that are 0 up to round-off add nothing to it.
  auto exponents = p.unsqueeze(-1).expand_symint(eigenvalues.sym_sizes());
  if (eigenvalues.sym_size(-1) != 0) {
    const auto is_zero = eigenvalues.abs() <= math::zero_threshold(eigenvalues);
    const auto vanishes = is_zero.logical_and(constant_p.unsqueeze(-1) > 0);
    exponents = at::where(vanishes, constant_p.unsqueeze(-1), exponents);
  }
  // Zero eigenvalues may round to negative ones.
  const auto is_integer = (constant_p == constant_p.floor()).unsqueeze(-1);
  const auto values_at = at::where(is_integer, eigenvalues, eigenvalues.clamp_min(0));
  const ops::Eigenpairs pairs{A / unit.unsqueeze(-1), x / unit, eigenvectors};
  return ops::spectral_function({"powers", {}, jets_of_power(x, values_at, unit, exponents)}, pairs);
}

} // namespace

Tensor powm(const Tensor& A, double p) {
  TORCH_CHECK_VALUE(std::isfinite(p), "spectralgrad.powm: Expected p to be finite, but got ", p);
  const bool integer = p == std::floor(p);
  const auto domain = integer ? (p < 0 ? Domain::nonzero : Domain::all)
                              : (p < 0 ? Domain::positive : Domain::nonnegative);
  return ops::spectral_function({"power", {p}, {}}, ops::eigenpairs("powm", A, domain));
}

Tensor powm(const Tensor& A, const Tensor& p) {
  TORCH_CHECK_TYPE(
      p.defined() && !p.is_complex() && p.scalar_type() != at::kBool,
      "spectralgrad.powm: Expected p to be real, but ",
      p.defined() ? c10::str("got ", p.dtype()) : "it is undefined");
  const auto pairs = ops::eigenpairs("powm", A);
  const auto batch = A.sizes().slice(0, A.dim() - 2);
  const bool has_column = p.dim() == A.dim() - 1 && p.size(-1) == 1;
  const auto exponents = (has_column ? p.squeeze(-1) : p).to(pairs.eigenvalues.options());
  TORCH_CHECK_VALUE(
      at::are_expandable(batch, exponents.sizes()),
      "spectralgrad.powm: Expected p to broadcast with the batch of A, ",
      batch,
      ", but its shape is ",
      exponents.sizes());
  const auto shape = at::infer_size(batch, exponents.sizes());
  const auto expand = [&shape](const Tensor& x, int64_t dimensions) {
    auto sizes = shape;
    const auto own = x.sizes().slice(x.dim() - dimensions);
    sizes.insert(sizes.end(), own.begin(), own.end());
    return x.expand(sizes);
  };
  return power_of_eigenpairs(
      expand(pairs.A, 2),
      expand(pairs.eigenvalues, 1),
      expand(pairs.eigenvectors, 2),
      expand(exponents, 0));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("powm(Tensor A, float p) -> Tensor");
  // Scripts call this one. Python's powm computes with symbolic shapes.
  library.def("powm.tensor(Tensor A, Tensor p) -> Tensor");
  library.def("power_of_eigenpairs(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor p) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("powm", static_cast<Tensor (*)(const Tensor&, double)>(powm));
  library.impl("powm.tensor", static_cast<Tensor (*)(const Tensor&, const Tensor&)>(powm));
  library.impl("power_of_eigenpairs", power_of_eigenpairs);
}

} // namespace spectralgrad
