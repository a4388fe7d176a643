#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <tuple>

// Derivatives of the singular value decomposition A = U diag(sigma) V^H of A (*, m, n), as differentiable tensor code.
//
// U is (*, m, k) or (*, m, m), V is (*, n, k) or (*, n, n), with k = min(m, n). V is passed as Vh = V^H. The pairs
// (u_i, v_i) are eigenvectors of [[0, A], [A^H, 0]], whose eigenvalues are +sigma_i, -sigma_i, and |m - n| times 0. So
// the gaps of the problem are sigma_j - sigma_i, sigma_j + sigma_i and, if A is not square, sigma_j. The textbook's
// quotients by sigma_j^2 - sigma_i^2 overflow and cancel; each gap is divided by on its own here.
//
// Giles (2008), "An extended collection of matrix derivative results", section 3.2; Townsend (2016), "Differentiating
// the singular value decomposition"; complex matrices: Wan and Zhang (2019), arXiv:1909.02659.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, m, n). With U_1 and V_1 the first k columns of U and V, S_U = U_1^H gU_1 and
/// S_V = V_1^H gV_1, each without its Hermitian part,
///     gA = U_1 [ diag(g_sigma) + F^- o (S_U + S_V) + F^+ o (S_U - S_V) ] V_1^H
///          + [F^0 o R_U] V_1^H + U_1 [F^0 o R_V]^H,
///     F^-_ij = 1/(sigma_j - sigma_i),  F^+_ij = 1/(sigma_j + sigma_i),  F^0_ij = 1/sigma_j  by the rule.
/// R_U (m, k) is the part of gU_1 outside the range of U_1. If U has more than k columns, R_U = U_2 B with
/// B = U_2^H gU_1 - gU_2^H U_1: the columns U_2 turn against U_1. R_V likewise.
///
/// U and V turn together inside a repeated singular value, so losses of U_1 V_1^H have S_U = -S_V there.
///
/// Each cotangent may be undefined, which means zero. If all are, so is the result.
at::Tensor svd_vjp(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

/// Forward mode: returns (dU, d_sigma, dVh). With X = U_1^H dA V_1, H its Hermitian part and K the rest,
///     d_sigma = real(diag X),    dU_1 = U_1 (F^- o H + F^+ o K) + [F^0 o (I - U_1 U_1^H) dA V_1],
///     dV_1 = V_1 (F^- o H - F^+ o K) + [F^0 o (I - V_1 V_1^H) dA^H U_1],
///     dU_2 = -U_1 (U_2^H dU_1)^H,    dV_2 = -V_1 (V_2^H dV_1)^H.
/// It is the adjoint of `svd_vjp`, up to the noise gate. The phases of u_i and v_i turn by opposite angles.
std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_jvp(
    const at::Tensor& tangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::math
