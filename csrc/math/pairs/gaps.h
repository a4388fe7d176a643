#pragma once

#include "core/tolerances.h"
#include "math/pairs/inverse_gap.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <limits>

// Division by eigenvalue gaps, as tensor code. No other tensor code divides by a gap.
//
// Given ascending eigenvalues lambda (*, n), a matrix S is divided entrywise by d_ij = lambda_j - lambda_i: the result
// is F o S, where the rule determines F_ij as 1/d_ij broadened, gated or cut off. The diagonal of the result is zero.
//
// Textbook F_ij = 1/d_ij: Magnus (1985); Giles (2008), "An extended collection of matrix derivative results". The
// Lorentzian d/(d^2 + eta^2) is the principal value of 1/d broadened to a half-width eta; its relative bias is exactly
// eta^2/(d^2 + eta^2). Both are formed from x = d/s, s = max|lambda|, so that they commute with scaling the matrix.
// Derivatives treat s, masks and widths as constants.
namespace spectralgrad::math {

/// Returns N = |V|^T |gV| + (|V|^T |gV|)^T, (*, n, n), real: the sum of absolute values of all terms in W_ij and W_ji,
/// W = V^H gV. Round-off of these entries is proportional to it. Not differentiated.
at::Tensor cotangent_magnitude(const at::Tensor& eigenvectors, const at::Tensor& eigenvectors_cotangent);

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
};
/// Reverse mode: returns F o S for S (*, n, n), the skew-Hermitian part of V^H gV.
///
/// If the loss does not depend on the basis inside an eigenspace, S_ij = d_ij g_ij with a smooth g. So for degenerate
/// eigenvalues S_ij is round-off, and F would amplify it without bound. Rules with a noise gate therefore drop these
/// entries:
/// - Outside clusters, entries up to the round-off of the product V^H gV, a fraction of N_ij. Dropping them costs no
///   more accuracy than their noise would have.
/// - Inside a cluster, entries up to the round-off of the whole matrix, a fraction of M. There gV itself may be
///   round-off left by an earlier cancellation: the energy tr(A P(A)) has gV = 2 A v = 2 lambda v, and N_ij does not
///   contain the size of A.
/// - Inside a cluster, also entries above sqrt(eps)*N_ij. A loss that does not depend on the basis has no such entries,
///   so they are round-off or meaningless.
/// A cluster is a chain of eigenvalues whose consecutive gaps are round-off. The gate removes values, not derivatives:
/// S may vanish because the loss is stationary. For pairs too close to be resolved, F is not differentiated.
///
/// `cotangents` is only read if the rule has a noise gate.
at::Tensor divide_cotangent_by_gaps(
    const at::Tensor& S,
    const CotangentSizes& cotangents,
    const at::Tensor& eigenvalues,
    const Rule& rule);

/// Forward mode: returns F o X for X = V^H dA V (*, n, n). X alone does not distinguish noise from signal, so rules
/// with a noise gate drop the pairs whose gap is round-off.
at::Tensor divide_tangent_by_gaps(const at::Tensor& X, const at::Tensor& eigenvalues, const Rule& rule);

/// Returns numerator/gap entrywise, for divided differences; 0 where the gap is 0. Not to be differentiated.
at::Tensor quotient(const at::Tensor& numerator, const at::Tensor& gap);

/// The thresholds of a rule with a noise gate, for eigenvalues of type T.
template <typename T>
NoiseGate<T> noise_gate(const Rule& rule) {
  constexpr auto dtype = c10::CppTypeToScalarType<T>::value;
  const auto eps = tolerances::eps(dtype);
  const auto limit = rule.noise() > 0 ? tolerances::gauge(dtype) : std::numeric_limits<double>::infinity();
  return {
      static_cast<T>(rule.noise() * tolerances::product_rounding(dtype)),
      static_cast<T>(rule.noise() * tolerances::cluster_rounding(dtype)),
      static_cast<T>(limit),
      static_cast<T>(tolerances::same_eigenvalue * eps),
      static_cast<T>(tolerances::cluster_reach * eps)};
}

/// The formula of a rule for 1/gap, for eigenvalues of type T.
template <typename T>
GapRule<T> gap_rule(const Rule& rule) {
  const auto eps = tolerances::eps(c10::CppTypeToScalarType<T>::value);
  const auto width = rule.width().value_or(0);
  switch (rule.kind()) {
    case Rule::Kind::gated:
      return {GapForm::lorentzian, static_cast<T>(width * eps), 0};
    case Rule::Kind::split:
      return {GapForm::lorentzian, static_cast<T>(tolerances::gate_width * eps), 0};
    case Rule::Kind::bare:
      return {GapForm::bare, 0, 0};
    case Rule::Kind::lorentzian:
    case Rule::Kind::cutoff:
      break;
  }
  const auto form = rule.kind() == Rule::Kind::cutoff ? GapForm::cutoff : GapForm::lorentzian;
  return rule.relative() ? GapRule<T>{form, static_cast<T>(width), 0} : GapRule<T>{form, 0, static_cast<T>(width)};
}

} // namespace spectralgrad::math
