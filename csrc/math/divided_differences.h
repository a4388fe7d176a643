#pragma once

#include "math/closed_forms.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

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

/// A function of a real argument, given by its name:
/// - "exp", "log", "sqrt", "invsqrt", "power" (the first parameter is the exponent), and the smearings of
///   math/smearing.h: "fermi" = 1/(1 + e^x), "gaussian", "methfessel-paxton", "cold";
/// - "pinv": 1/x, and 0 at eigenvalues that are exactly 0;
/// - "jets": f is known by its values and derivatives at the eigenvalues only. Row k of `jets` (*, K+1, n) has the k-th
///   derivative. An infinite f' at an eigenvalue that is exactly 0 means that f is singular there, like a square root.
///   The higher derivatives must then be 0 or infinite;
/// - "powers": x^p with an exponent for each matrix, given like "jets". Eigenvalues that count as 0 are exactly 0;
/// - "steps": f is constant in a neighbourhood of each eigenvalue, `jets` (*, 1, n) are its values.
///
/// A name with a closed form may come with jets, too. They are not read, but differentiated, if f depends on more than
/// x.
struct ScalarFunction {
  std::string name;
  std::vector<double> parameters;
  at::Tensor jets;
};

/// The kind of the last direction of a derivative. It matters only if f' is infinite at 0 and the direction has a part
/// inside the null space. This decides whether that part is reported.
enum class DirectionKind {
  /// A cotangent. A part proportional to the identity is not reported, because traces such as tr sqrt(F^T F) have it
  /// and are well-posed in F.
  cotangent,
  /// A tangent. Any part is reported.
  tangent,
  /// The change of a direction. It has such a part even along matrices of constant rank, so nothing is reported.
  change,
};

/// Operators take the kind as one more parameter.
DirectionKind direction_kind(const ScalarFunction& f);
std::vector<double> with_direction_kind(std::string_view name, std::vector<double> parameters, DirectionKind kind);

/// The number of derivatives that `funm` uses of a given function. With four, first differences err by a few eps and
/// second ones by less than 1e-11 (docs/measurements.md).
inline constexpr int64_t jet_order = 4;

/// The closed form of f (math/closed_forms.h), if it has one, and its exponent if it is a power.
Form form_of(const ScalarFunction& f);
Exponent exponent_of(const ScalarFunction& f);

/// Whether f has a closed form that is defined at 0 although one of its derivatives is not. Values and differences then
/// treat eigenvalues as 0 that are 0 up to round-off.
bool is_singular_at_zero(const ScalarFunction& f);

/// The number of finite derivatives at 0 of such a function.
int64_t finite_derivatives_at_zero(const ScalarFunction& f);

/// The mask of eigenvalues that such a function treats as 0, and for "jets" of those with an infinite f': (*, n).
/// Undefined if f has none.
at::Tensor singular_eigenvalues(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// The largest size (*, 1) of an eigenvalue that is 0 up to round-off: n eps max|lambda|. For n >= 1.
at::Tensor zero_threshold(const at::Tensor& eigenvalues);

/// Gathers the entries of x (..., n) at integer positions of any shape: (..., *shape).
at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions);

/// f(lambda), (*, n), at ascending eigenvalues (*, n).
at::Tensor values(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// f[lambda_i, lambda_j]: (*, n, n).
at::Tensor first_differences(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// The numbers from which differences of second or higher order are computed.
struct DifferenceArguments {
  at::Tensor x; // (*, n) eigenvalues, in units of their largest where f is homogeneous
  at::Tensor jets; // of f at x; undefined where the differences have a closed form
  at::Tensor unit; // (*, 1): the differences are to be multiplied with it; undefined for 1
};
DifferenceArguments difference_arguments(const ScalarFunction& f, const at::Tensor& eigenvalues, int64_t order);

/// f[lambda_i, lambda_j, lambda_k]: n^3 numbers, computed in slices.
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
