#pragma once

#include "core/tolerances.h"
#include "math/pairs/inverse_gap.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <limits>

// The only place that divides by a gap.
//
// For eigenvalues lambda (*, n), ascending, a matrix is divided entrywise by d_ij = lambda_j - lambda_i, as far as the
// rule allows: F o S with F_ij = 1/d_ij broadened, gated or cut off. The diagonal of the result is zero.
//
// Textbook F_ij = 1/d_ij: Magnus (1985); Giles (2008), "An extended collection of matrix derivative results". The
// Lorentzian d/(d^2 + eta^2) is the principal value of 1/d broadened to a half-width eta; its relative bias is exactly
// eta^2/(d^2 + eta^2). Both are formed from x = d/s, s = max|lambda|, so that they commute with scaling the matrix.
// s, masks and widths are constants of the differentiation.
namespace spectralgrad::math {

/// N = |V|^T |gV| + (|V|^T |gV|)^T, (*, n, n), real: what the entries of V^H gV and its adjoint were summed from. A constant.
at::Tensor cotangent_magnitude(const at::Tensor& eigenvectors, const at::Tensor& eigenvectors_cotangent);

/// M (*, 1, 1), real: the larger of the largest norm of a column of gV and max|lambda| max|g_lambda|, whose round-off is that of
/// the whole matrix. Either cotangent may be undefined. A constant.
at::Tensor cotangent_scale(
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent);

/// Reverse mode: F o S for S (*, n, n), the skew-Hermitian part of V^H gV.
///
/// At a degeneracy S_ij = d_ij g_ij with g smooth if the loss does not depend on the basis inside an eigenspace, so S_ij
/// is rounding noise there, and F would amplify it without bound. A rule that gates drops entries that may be noise:
/// - Outside clusters, entries up to the round-off of the product V^H gV, a fraction of N_ij. What is dropped costs no more than
///   the noise that it would have carried.
/// - Inside a cluster, entries up to the round-off of the whole matrix, a fraction of M. There gV itself may be round-off of
///   what was cancelled before: the energy tr(A P(A)) has gV = 2 A v = 2 lambda v, and N_ij knows nothing of the size of A.
/// - Inside a cluster, entries above sqrt(eps)*N_ij, too. A loss that does not depend on the basis has none there, so they are
///   round-off or have no meaning.
/// A cluster is a chain of eigenvalues whose steps are rounding. The gate removes values, not derivatives: S may vanish because
/// the loss is stationary. Pairs so close that they are not resolvable stay out of the differentiation of F altogether.
///
/// `cotangents`: only read by rules that gate.
struct CotangentSizes {
  at::Tensor magnitude; // N (*, n, n), from `cotangent_magnitude`
  at::Tensor largest; // M (*, 1, 1), from `cotangent_scale`
};
at::Tensor divide_cotangent_by_gaps(
    const at::Tensor& S,
    const CotangentSizes& cotangents,
    const at::Tensor& eigenvalues,
    const Rule& rule);

/// Forward mode: F o X for X = V^H dA V (*, n, n). Nothing in X tells noise from signal, so a rule that gates drops the
/// pairs whose gap is rounding.
at::Tensor divide_tangent_by_gaps(const at::Tensor& X, const at::Tensor& eigenvalues, const Rule& rule);

/// numerator/gap, entry by entry, for divided differences; 0 where the gap is. Not differentiated.
at::Tensor quotient(const at::Tensor& numerator, const at::Tensor& gap);

/// The gate of a rule that gates.
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

/// A rule as far as gaps are concerned, for eigenvalues of type T.
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
