#pragma once

#include "math/scalar_function.h"

#include <ATen/core/Tensor.h>

// Divided differences of a function on a spectrum. The derivatives of f(A) consist of them (math/spectral_function.h):
//     f[a,b] = (f(a) - f(b))/(a - b),   f[a,a] = f'(a),   f[a,b,c] = (f[a,b] - f[b,c])/(a - c),   f[a,a,a] = f''(a)/2
// First differences have relative errors of a few eps at every gap, second ones of 1e-12 at most (float64), because
// nearly equal numbers are never subtracted. Closed forms are used if they exist (math/closed_forms.h has those of
// first differences). Otherwise each pair uses the more accurate one of two formulas: the quotient, with an error of
// about eps*|f|/gap, or an expansion between the two ends, with an error of a power of the gap.
//
// Some functions are defined on [0, inf) and have an infinite derivative at 0 (square roots). Their differences are
// those of the function that is f away from 0 and the constant f(0) in a neighbourhood of 0: f[0,0] = 0, f[0,b] = (f(b)
// - f(0))/b, f[0,0,b] = f[0,b]/b, f[0,0,0] = 0. On matrices of constant rank both are the same function, so all
// derivatives along such matrices are exact.
//
// Higham (2008), "Functions of Matrices", sections 3.2 and B.16.
//
// Plain tensor code for any device. It is not differentiated, because its derivative is a divided difference of the
// next order.
namespace spectralgrad::math {

/// f[lambda_i, lambda_j]: (*, n, n).
at::Tensor first_differences(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// The numbers from which differences of second or higher order are computed.
struct DifferenceArguments {
  at::Tensor x; // (*, n) eigenvalues, in units of their largest where f is homogeneous
  at::Tensor jets; // of f at x; undefined where the differences have a closed form
  at::Tensor unit; // (*, 1): the differences are to be multiplied with it; undefined for 1
};
DifferenceArguments difference_arguments(const ScalarFunction& f, const at::Tensor& eigenvalues, int64_t order);

/// The effect of round-off of x on f^(k), in units of eps: |x f^(k+1)|. It exceeds |f^(k)| where a value vanishes by
/// cancellation, such as x^2 - 1 at 1, and in the tails of a Gaussian.
at::Tensor effect_of_rounding(const at::Tensor& x, const at::Tensor& jets, int64_t k);

/// Whether an expansion with an error of about `error` is better than the quotient of a difference of terms that large.
/// It must also agree with the quotient up to the quotient's round-off, because given derivatives may be wrong, or may
/// be zeros from some order on.
at::Tensor expansion_is_better(
    const at::Tensor& gap,
    const at::Tensor& quotient,
    const at::Tensor& terms,
    const at::Tensor& expansion,
    const at::Tensor& error);

/// Whether the expansion of a difference between `a` and `b`, in units of f's own scale, is accurate also for other
/// functions than the one for which it was chosen. A gradient in jets is one in the parameters of f, and so a
/// difference of another function: for theta*g(x) at theta = 0 that is g, for x^p at p = 3 it is x^3 log(x). There,
/// expansions of f itself are exact at every gap.
at::Tensor may_expand_any_function(const at::Tensor& a, const at::Tensor& b);

/// The transpose of the map from jets to first differences: sum_ij C_ij f[lambda_i, lambda_j] = sum_ki result_ki
/// jets_ki for symmetric C (*, n, n). Each pair uses the formula that was chosen for `f`, if it is accurate for other
/// functions, too.
at::Tensor first_differences_transposed(const ScalarFunction& f, const at::Tensor& eigenvalues, const at::Tensor& C);

} // namespace spectralgrad::math
