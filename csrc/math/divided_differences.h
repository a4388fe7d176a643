#pragma once

#include "math/closed_forms.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

// Divided differences of functions on a spectrum, of which the derivatives of f(A) are made (math/spectral_function.h):
//     f[a,b] = (f(a) - f(b))/(a - b),   f[a,a] = f'(a),   f[a,b,c] = (f[a,b] - f[b,c])/(a - c),   f[a,a,a] = f''(a)/2
// First differences have relative errors of a few eps at every gap, second ones of 1e-12 at most (float64): nothing is subtracted
// that is nearly equal. Where closed forms exist they are used (of first differences those of math/closed_forms.h); else,
// whichever of two formulas errs less, pair by pair: the quotient, by about eps*|f|/gap, or an expansion between the two ends, by a
// power of the gap.
//
// Where f is defined on [0, inf) and some derivative of it is infinite at 0 (square roots), the differences are those of the
// function that is f away from 0 and the constant f(0) in a neighbourhood of 0: f[0,0] = 0, f[0,b] = (f(b) - f(0))/b,
// f[0,0,b] = f[0,b]/b, f[0,0,0] = 0. On matrices of constant rank both are the same function, so all derivatives along such
// matrices are exact.
//
// Higham (2008), "Functions of Matrices", sections 3.2 and B.16.
// Plain tensor code on any device, not to be differentiated itself: its derivative is a divided difference of one order more.
namespace spectralgrad::math {

/// A function of a real argument, by name:
/// "exp", "log", "sqrt", "invsqrt", "power" (its exponent the first parameter), and the smearings of math/smearing.h:
/// "fermi" = 1/(1 + e^x), "gaussian", "methfessel-paxton", "cold";
/// "pinv": 1/x, and 0 at eigenvalues that are exactly 0;
/// "jets": f known by its values and derivatives at the eigenvalues alone, `jets` (*, K+1, n), row k the k-th derivative. An
///     infinite f' at an eigenvalue that is exactly 0 says that f is singular there as a square root is; the higher derivatives
///     must then be 0 or infinite;
/// "powers": x^p with an exponent for each matrix, given as "jets" are; eigenvalues that count as 0 are exactly 0;
/// "steps": f constant in a neighbourhood of each eigenvalue, `jets` (*, 1, n) its values.
/// A name with a closed form may come with jets, too: they are not read, but differentiated, where f depends on more than x.
struct ScalarFunction {
  std::string name;
  std::vector<double> parameters;
  at::Tensor jets;
};

/// What the last direction of a derivative is. It matters only where f' is infinite at 0 and the direction has a part inside the
/// kernel.
enum class DirectionKind {
  /// A part proportional to the identity is not reported: traces such as tr sqrt(F^T F) have it, and are well-posed in F.
  cotangent,
  /// Any part is reported.
  tangent,
  /// The change of a direction. Along matrices of constant rank it has such a part in general, so nothing is reported.
  change,
};

/// It travels as one parameter more.
DirectionKind direction_kind(const ScalarFunction& f);
std::vector<double> with_direction_kind(std::string_view name, std::vector<double> parameters, DirectionKind kind);

/// How many derivatives `funm` asks of a function that is given: with those up to the fourth, first differences err by a few
/// eps and second ones by less than 1e-11.
inline constexpr int64_t jet_order = 4;

/// Its closed form (math/closed_forms.h), if it has one, and the exponent, if that is a power.
Form form_of(const ScalarFunction& f);
Exponent exponent_of(const ScalarFunction& f);

/// Whether f has a closed form that is defined at 0 while a derivative of it is not. Eigenvalues that cannot be told from 0 are
/// then 0, in values and differences.
bool is_singular_at_zero(const ScalarFunction& f);

/// The number of finite derivatives at 0 of such a function.
int64_t finite_derivatives_at_zero(const ScalarFunction& f);

/// The eigenvalues that are 0 to such a function, and for "jets" those with an infinite f': (*, n), or undefined where f has
/// none.
at::Tensor singular_eigenvalues(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// f(lambda): (*, n) of eigenvalues (*, n), ascending.
at::Tensor values(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// f[lambda_i, lambda_j]: (*, n, n).
at::Tensor first_differences(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// The numbers that differences of second or higher order are formed from.
struct DifferenceArguments {
  at::Tensor x; // (*, n) eigenvalues, in units of their largest where f is homogeneous
  at::Tensor jets; // of f at x; undefined where the differences have a closed form
  at::Tensor unit; // (*, 1): the differences are to be multiplied with it; undefined for 1
};
DifferenceArguments difference_arguments(const ScalarFunction& f, const at::Tensor& eigenvalues, int64_t order);

/// f[lambda_i, lambda_j, lambda_k], n^3 of them, in slices.
class SecondDifferences {
 public:
  SecondDifferences(const ScalarFunction& f, const at::Tensor& eigenvalues);

  /// For start <= k < start + count: (*, n, n, count).
  at::Tensor slice(int64_t start, int64_t count) const;

 private:
  ScalarFunction f_;
  at::Tensor x_; // eigenvalues, in units of their largest where f is homogeneous
  at::Tensor unit_; // what the differences are then to be multiplied with
  at::Tensor jets_; // and
  at::Tensor first_; // first differences, if there is no closed form
};

/// Whether the expansion of a difference between `a` and `b`, in the units of f's own scale, suits functions other than the one it was
/// chosen for. A gradient in jets is one in the parameters of f, and so of another function: that of theta*g(x) at theta = 0 is g,
/// that of x^p at p = 3 is x^3 log(x). Expansions of f itself are exact there at every gap.
at::Tensor may_expand_any_function(const at::Tensor& a, const at::Tensor& b);

/// The transpose of jets -> first differences: sum_ij C_ij f[lambda_i, lambda_j] = sum_ki result_ki jets_ki for symmetric
/// C (*, n, n); the formula of each pair as chosen for `f`, as far as it suits other functions.
at::Tensor first_differences_transposed(const ScalarFunction& f, const at::Tensor& eigenvalues, const at::Tensor& C);

} // namespace spectralgrad::math
