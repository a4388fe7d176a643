#pragma once

#include "math/pairs/denominators.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

// Division by the denominators of all pairs of values x_i, x_j, as differentiable tensor code: by differences of
// eigenvalues, by differences and sums of singular values, by differences of the complex eigenvalues of a general
// matrix. No other tensor code divides by them.
//
// The result is F o S, where the rule determines F_ij: 1/d_ij broadened, cut off, or gated. For differences, the
// diagonal of the result is zero. Derivatives treat max|x|, masks and widths as constants.
//
// Textbook F_ij = 1/d_ij: Magnus (1985); Giles (2008), "An extended collection of matrix derivative results".
// math/pairs/broadening.h has the formulas of the rules, math/pairs/noise_gate.h the noise gate, math/pairs/clusters.h
// the clusters. SIMD kernels use the same formulas.
namespace spectralgrad::math {

/// Returns N = |V|^T |gV| + (|V|^T |gV|)^T, (*, n, n), real: the sum of absolute values of all terms in W_ij and W_ji,
/// W = V^H gV. Round-off of these entries is proportional to it. Not differentiated.
at::Tensor cotangent_magnitude(const at::Tensor& eigenvectors, const at::Tensor& eigenvectors_cotangent);

/// Returns the largest norm of a column of X (*, m, n), as (*, 1, 1), without over- or underflow. Not differentiated.
at::Tensor largest_column_norm(const at::Tensor& X);

/// Returns M (*, 1, 1), real: the largest norm of a column of gV, or max|lambda| max|g_lambda| if that is larger. eps*M
/// is the round-off of the whole matrix. Either cotangent may be undefined. Not differentiated.
at::Tensor cotangent_scale(
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent);

/// The magnitudes that a rule with a noise gate compares cotangents with.
struct CotangentSizes {
  at::Tensor magnitude; // N (*, n, n), from `cotangent_magnitude`
  at::Tensor largest; // M (*, 1, 1), from `cotangent_scale`
  at::Tensor amplification = {}; // (*), of a generalized problem (math/pairs/amplification.h); undefined means 1
};

/// Reverse mode: returns conj(F) o S for S (*, n, n), such as the skew-Hermitian part of V^H gV. It is the adjoint of
/// `divide_tangent`.
///
/// `values` (*, n) are real and sorted, in either order, or complex in any order. For sums and single values they are
/// also nonnegative. Two singular values can have a sum that is round-off, because sigma_j + sigma_i is a difference of
/// the eigenvalues +-sigma of [[0, A], [A^H, 0]]. Clusters of sums are the clusters of these eigenvalues around 0.
/// Clusters of complex values are chains of values in the plane.
///
/// `Denominator::value` divides column j of S (*, r, n), with any number r of rows, by the value x_j. If A is not
/// square, [[0, A], [A^H, 0]] has further eigenvalues 0, and sigma_j is the difference to these.
///
/// S may consist of c consecutive columns of the table only, from the column `first` on, for real values: (*, n, c), or
/// (*, r, c).
///
/// The noise gate removes values, not derivatives: S may vanish because the loss is stationary. So the derivative of
/// the result with respect to S is F even where the gate drops the value (a straight-through estimator). For pairs too
/// close to be resolved, dropped entries have no derivative, and F is not differentiated.
///
/// `cotangents` is only read if the rule has a noise gate.
at::Tensor divide_cotangent(
    const at::Tensor& S,
    const CotangentSizes& cotangents,
    const at::Tensor& values,
    Denominator kind,
    const Rule& rule,
    const c10::SymInt& first = 0);

/// `divide_cotangent` for real values with what its derivatives need, (*, n, n) each.
struct DifferentiatedQuotient {
  at::Tensor quotient; // F o S, the result of `divide_cotangent`
  at::Tensor factor; // its derivative with respect to S: F, or 0 for entries whose derivative is dropped
  at::Tensor slope; // its derivative with respect to the denominators over `unit`: F' o S, or 0 where F is a constant
  at::Tensor unit; // (*, 1, 1); F' itself may underflow
};

DifferentiatedQuotient differentiate_quotient(
    const at::Tensor& S,
    const CotangentSizes& cotangents,
    const at::Tensor& values,
    Denominator kind,
    const Rule& rule);

/// Forward mode: returns F o X for X (*, n, n), such as V^H dA V. X alone does not distinguish noise from signal, so
/// rules with a noise gate drop the pairs whose denominator is round-off. `values`, and an X of c columns, are as for
/// `divide_cotangent`. For sums, `values` may be negative. `amplification` is as in `CotangentSizes`.
at::Tensor divide_tangent(
    const at::Tensor& X,
    const at::Tensor& values,
    Denominator kind,
    const Rule& rule,
    const at::Tensor& amplification = {});

} // namespace spectralgrad::math
