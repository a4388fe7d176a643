#pragma once

#include "derivatives/inverse_gap.h"
#include "derivatives/tolerances.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

// The only place that divides by a gap.
//
// For eigenvalues lambda (*, n), ascending, a matrix is divided entrywise by d_ij = lambda_j - lambda_i, as far as the
// rule allows: F o S with F_ij = 1/d_ij broadened, gated or cut off. The diagonal of the result is zero.
//
// Textbook F_ij = 1/d_ij: Magnus (1985); Giles (2008), "An extended collection of matrix derivative results". The
// Lorentzian d/(d^2 + eta^2) is the principal value of 1/d broadened to a half-width eta; its relative bias is exactly
// eta^2/(d^2 + eta^2). Both are formed from x = d/s, s = max|lambda|, so that they commute with scaling the matrix.
// s, masks and widths are constants of the differentiation.
namespace spectralgrad::derivatives {

/// N = |V|^T |gV| + (|V|^T |gV|)^T, (*, n, n), real: what the entries of V^H gV and its adjoint were summed from. A constant.
at::Tensor cotangent_magnitude(const at::Tensor& eigenvectors, const at::Tensor& eigenvectors_cotangent);

/// Reverse mode: F o S for S (*, n, n), the skew-Hermitian part of V^H gV.
///
/// At a degeneracy S_ij = d_ij g_ij with g smooth if the loss does not depend on the basis inside an eigenspace, so S_ij
/// is rounding noise there, of at most about eps*N_ij; F would amplify it without bound. A rule that gates keeps only
/// entries above its noise level; what is dropped costs no more than the noise it would have carried. The gate removes
/// values, not derivatives: S may vanish because the loss is stationary. Pairs so close that they are not resolvable stay
/// out of the differentiation of F altogether.
///
/// `magnitude`: `cotangent_magnitude`. Only read by rules that gate.
at::Tensor divide_cotangent_by_gaps(
    const at::Tensor& S,
    const at::Tensor& magnitude,
    const at::Tensor& eigenvalues,
    const Rule& rule);

/// Forward mode: F o X for X = V^H dA V (*, n, n). Nothing in X tells noise from signal, so a rule that gates drops the
/// pairs whose gap is rounding.
at::Tensor divide_tangent_by_gaps(const at::Tensor& X, const at::Tensor& eigenvalues, const Rule& rule);

/// numerator/gap, entry by entry, for divided differences; 0 where the gap is. Not differentiated.
at::Tensor quotient(const at::Tensor& numerator, const at::Tensor& gap);

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

} // namespace spectralgrad::derivatives
