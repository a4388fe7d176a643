#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

// The derivative of the first r singular triples of A (*, m, n), as differentiable tensor code. math/svd.h has the
// derivative of all of them.
namespace spectralgrad::math {

/// Reverse mode: returns gA (*, m, n) for a loss of the first r columns U_r, V_r and singular values. Its tables have
/// k x r entries, with k = min(m, n), and its products cost O(m n r).
///
/// `U` (*, m, k), `singular_values` (*, k) and `Vh` (*, k, n) are the whole decomposition; U_d, V_d are the dropped
/// columns. With S^+ = W_U + W_V and S^- = W_U - W_V, W_U = U^H gU_r (k, r), W_V = V^H gV_r (k, r), without the
/// Hermitian part of their first r rows,
///     gA = U_r [ diag(g_sigma) + F^- o S^+ + F^+ o S^- ]_rr V_r^H
///          + U_d [ F^- o S^+ + F^+ o S^- ]_dr V_r^H + U_r [ F^- o S^+ - F^+ o S^- ]_dr^H V_d^H
///          + [F^0 o R_U] V_r^H + U_r [F^0 o R_V]^H.
/// The second line is the part of gU_r and gV_r in the range of the dropped columns, whose S has a factor 1/2, because
/// only half of that skew-Hermitian matrix is nonzero. Together with the last line, the part outside the ranges of U
/// and V, it is the complement term: Francuz, Schuch, Vanhecke (2023), arXiv:2311.11894.
///
/// Each cotangent may be undefined, which means zero. If all are, so is the result.
at::Tensor svd_truncated_vjp(
    const at::Tensor& U_cotangent,
    const at::Tensor& singular_values_cotangent,
    const at::Tensor& Vh_cotangent,
    const at::Tensor& U,
    const at::Tensor& singular_values,
    const at::Tensor& Vh,
    const Rule& rule);

} // namespace spectralgrad::math
