#pragma once

#include "math/pairs/pairs.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

// Derivatives of `eigh_vjp` (math/eigh.h), as differentiable tensor code.
//
// With W = V^H gV, S = (W - W^H)/2 and Q = diag(g_lambda) + F o S, the gradient is gA = V Q V^H. The noise gate removes
// values of S, not derivatives; math/pairs/pairs.h says where F and S are constants.
namespace spectralgrad::math {

/// The arguments of `eigh_vjp`, or a cotangent or tangent of each. Undefined tensors are zero.
struct EighVjpArguments {
  at::Tensor eigenvalues_cotangent; // g_lambda (*, n)
  at::Tensor eigenvectors_cotangent; // gV (*, n, n)
  at::Tensor eigenvalues; // (*, n)
  at::Tensor eigenvectors; // (*, n, n)
};

/// The matrices that both derivatives need, (*, n, n) each.
struct EighVjpInner {
  at::Tensor W; // V^H gV; undefined without gV
  DifferentiatedQuotient pairs; // of S; undefined without gV
  at::Tensor Q; // diag(g_lambda) + F o S
};

EighVjpInner eigh_vjp_inner(const EighVjpArguments& x, const Rule& rule);

/// Reverse mode: the gradients of the arguments `x`. With T = V^H G V, where G is the Hermitian part of the cotangent
/// of gA, Z = F o T, and the product F' o S of the derivative of F with respect to the gap,
///     of g_lambda: real(diag T),                     of gV: V Z,
///     of lambda_j: 2 sum_i real(conj(T_ij) (F' o S)_ij),    of V: V (2 T Q - W Z).
EighVjpArguments eigh_vjp_vjp(const at::Tensor& cotangent, const EighVjpArguments& x, const EighVjpInner& inner);

/// Forward mode: the tangent of gA. With R = V^H dV,
///     V [ R Q + (R Q)^H + diag(d g_lambda) + (F' o S)_ij (d lambda_j - d lambda_i) + F o dS ] V^H,
/// where dS is the skew-Hermitian part of V^H d gV + R^H W. At least one tangent is defined.
at::Tensor eigh_vjp_jvp(const EighVjpArguments& tangents, const EighVjpArguments& x, const EighVjpInner& inner);

} // namespace spectralgrad::math
