#include "math/eig.h"

#include "autograd/constant.h"
#include "autograd/second_order.h"
#include "core/tolerances.h"
#include "math/inverse.h"
#include "math/near_defective_gradient.h"
#include "math/pairs/judge_eigenvectors.h"
#include "math/pairs/near_defective.h"
#include "math/pairs/noise_gate.h"
#include "math/pairs/pairs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <tuple>

namespace spectralgrad::math {
namespace {

using at::Tensor;
using autograd::constant;
using autograd::is_differentiated;
using autograd::with_second_order_warning;

/// The norms of rows or columns, not differentiated.
Tensor norm(const Tensor& x, int64_t dimension) {
  return at::linalg_vector_norm(constant(x), 2, at::IntArrayRef{dimension});
}

Tensor is_finite(const Tensor& matrices) {
  return at::isfinite(constant(matrices)).all(-1, /*keepdim=*/true).all(-2, /*keepdim=*/true);
}

/// x without the entries that are not finite because V is singular.
Tensor finite_part(const Tensor& x, const Tensor& V, const Tensor& V_inverse) {
  const auto singular = is_finite(V).logical_and(is_finite(V_inverse).logical_not());
  const auto dropped = singular.logical_and(at::isfinite(constant(x)).logical_not());
  return at::where(dropped, at::zeros_like(x), x);
}

/// V^-H `inner` V^H.
Tensor from_eigenbasis(const Tensor& inner, const Tensor& V, const Tensor& V_inverse) {
  return at::matmul(V_inverse.mH(), at::matmul(inner, V.mH()));
}

/// S without the entries that are round-off: at most `noise` (*, n) times `factor`, for each column. As in the noise
/// gate, derivatives remain.
Tensor without_noise(const Tensor& S, const Tensor& noise, double factor) {
  const auto value = constant(S);
  return S - at::where(value.abs() <= (noise * factor).unsqueeze(-2), value, at::zeros_like(value));
}

/// The part of the gradient that is due to the eigenvalues.
Tensor eigenvalues_part(
    const Tensor& cotangent,
    const Tensor& eigenvalues,
    const Tensor& V,
    const Tensor& V_inverse,
    const Tensor& A) {
  const auto result = at::matmul(V_inverse.mH(), cotangent.unsqueeze(-1) * V.mH());
  auto [accurate, found] = near_defective_gradient(cotangent, eigenvalues, V, A);
  if (is_differentiated(result)) {
    // The accurate value, with the derivative of the formula.
    const auto differentiable = finite_part(result, V, V_inverse);
    accurate = accurate + (differentiable - constant(differentiable));
  }
  return at::where(found.unsqueeze(-1).unsqueeze(-1), accurate, result);
}

} // namespace

Tensor eig_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Tensor& A,
    const Rule& rule) {
  if (!eigenvalues_cotangent.defined() && !eigenvectors_cotangent.defined()) {
    return {};
  }
  const auto [eigenvalues, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  if (eigenvalues.sym_size(-1) == 0) {
    return A.clone();
  }
  const auto n = V.sym_size(-1).guard_int(__FILE__, __LINE__);
  const auto V_inverse = inverse(V);
  Tensor S;
  Tensor magnitude;
  Tensor noise;
  if (eigenvectors_cotangent.defined()) {
    // W_ii = v_i^H gV_i
    const auto change_of_norm = at::real((V.conj() * eigenvectors_cotangent).sum(-2, /*keepdim=*/true));
    S = at::matmul(V.mH(), eigenvectors_cotangent - V * change_of_norm);
    magnitude = cotangent_magnitude(V, eigenvectors_cotangent);
    noise =
        cotangent_noise(norm(eigenvectors_cotangent, -2), norm(V_inverse, -1), constant(change_of_norm).squeeze(-2), n);
  }
  Tensor result;
  if (eigenvalues_cotangent.defined()) {
    result = eigenvalues_part(eigenvalues_cotangent, eigenvalues, V, V_inverse, A);
  }
  Tensor divided;
  if (S.defined()) {
    const auto factor = tolerances::general_rounding(n);
    const CotangentSizes sizes{
        magnitude * factor,
        cotangent_scale(eigenvalues, eigenvalues_cotangent, eigenvectors_cotangent) * factor};
    divided = divide_cotangent(
        rule.gates() ? without_noise(S, noise, factor * noise_gate(rule, S.scalar_type()).noise) : S,
        sizes,
        eigenvalues,
        Denominator::difference,
        rule);
    const auto part = finite_part(from_eigenbasis(divided, V, V_inverse), V, V_inverse);
    result = result.defined() ? result + part : part;
  }
  if (!A.is_complex()) {
    result = at::real(result);
  }
  return result +
      judge_eigenvectors(
             {eigenvalues_cotangent, eigenvectors_cotangent, S, magnitude, noise, divided, result},
             eigenvalues,
             V,
             V_inverse,
             A);
}

std::pair<Tensor, Tensor> eig_jvp(
    const Tensor& tangent,
    const Tensor& saved_eigenvalues,
    const Tensor& saved_eigenvectors,
    const Rule& rule) {
  const auto [eigenvalues, V] = with_second_order_warning(saved_eigenvalues, saved_eigenvectors);
  const auto X = at::matmul(inverse(V), at::matmul(tangent.to(V.scalar_type()), V));
  const auto turned = at::matmul(V, divide_tangent(X, eigenvalues, Denominator::difference, rule));
  const auto change_of_norm = at::real((V.conj() * turned).sum(-2, /*keepdim=*/true));
  return {X.diagonal(0, -2, -1), turned - V * change_of_norm};
}

} // namespace spectralgrad::math
