#pragma once

#include "math/closed_forms.h"

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

namespace spectralgrad::math {

/// A function with a name, as tensor code. It has either its second and third divided differences in closed form or its
/// derivatives, from which they are computed.
struct ClosedForm {
  std::string_view name;
  /// The values and first differences; `given` for smearings, which math/smearing.h has.
  Form form;
  /// f[a,b,c] for a <= b <= c, or null.
  at::Tensor (*second)(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c);
  /// f[a,b,c,d] for a <= b <= c <= d, or null.
  at::Tensor (*third)(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d);
  /// f and its first six derivatives at x (*, n): (*, 7, n); or null.
  at::Tensor (*jets)(const at::Tensor& x, const std::vector<double>& parameters);
};

/// Returns null for "jets", "powers" and "steps", and raises `c10::ValueError` for a name that is not known.
const ClosedForm* closed_form(std::string_view name);

} // namespace spectralgrad::math
