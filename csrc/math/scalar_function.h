#pragma once

#include "math/closed_forms.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

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

/// Returns the eigenvalues (*, n), with exact zeros for those that such a function treats as 0.
at::Tensor without_noise_at_zero(const ScalarFunction& f, const at::Tensor& eigenvalues);

/// The largest size (*, 1) of an eigenvalue that is 0 up to round-off: n eps max|lambda|. For n >= 1.
at::Tensor zero_threshold(const at::Tensor& eigenvalues);

/// f(lambda), (*, n), at ascending eigenvalues (*, n).
at::Tensor values(const ScalarFunction& f, const at::Tensor& eigenvalues);

} // namespace spectralgrad::math
