#include "math/scalar_function.h"

#include "core/tolerances.h"
#include "math/closed_form_table.h"
#include "math/pairs/tensor_arithmetic.h"
#include "math/smearing.h"

#include <ATen/ops/amax.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// The index of the kind of the last direction among a function's parameters.
size_t place_of_direction_kind(std::string_view name) {
  return name == "power" ? 1 : 0;
}

} // namespace

Form form_of(const ScalarFunction& f) {
  if (const auto* form = closed_form(f.name)) {
    return form->form;
  }
  TORCH_CHECK(f.jets.defined(), "spectralgrad: Expected jets for the function ", f.name);
  return Form::given;
}

Exponent exponent_of(const ScalarFunction& f) {
  if (f.name != "power") {
    return {};
  }
  const auto p = f.parameters[0];
  return {p, p == std::floor(p), std::fmod(p, 2) != 0};
}

DirectionKind direction_kind(const ScalarFunction& f) {
  const auto place = place_of_direction_kind(f.name);
  return f.parameters.size() > place ? static_cast<DirectionKind>(f.parameters[place]) : DirectionKind::cotangent;
}

std::vector<double> with_direction_kind(std::string_view name, std::vector<double> parameters, DirectionKind kind) {
  const auto place = place_of_direction_kind(name);
  parameters.resize(place);
  if (kind != DirectionKind::cotangent) {
    parameters.push_back(static_cast<double>(kind));
  }
  return parameters;
}

bool is_singular_at_zero(const ScalarFunction& f) {
  const auto p = exponent_of(f);
  return f.name == "sqrt" || (p.value > 0 && !p.is_integer);
}

int64_t finite_derivatives_at_zero(const ScalarFunction& f) {
  return static_cast<int64_t>(std::clamp(exponent_of(f).value, 0.0, 9.0));
}

Tensor singular_eigenvalues(const ScalarFunction& f, const Tensor& eigenvalues) {
  if ((f.name == "jets" || f.name == "powers") && f.jets.size(-2) > 1) {
    return at::isinf(f.jets.select(-2, 1)).logical_and(eigenvalues == 0);
  }
  if (!is_singular_at_zero(f)) {
    return {};
  }
  return eigenvalues <= zero_threshold(eigenvalues);
}

Tensor without_noise_at_zero(const ScalarFunction& f, const Tensor& eigenvalues) {
  return is_singular_at_zero(f) && eigenvalues.numel() > 0
      ? at::where(singular_eigenvalues(f, eigenvalues), at::zeros_like(eigenvalues), eigenvalues)
      : eigenvalues;
}

Tensor zero_threshold(const Tensor& eigenvalues) {
  return tolerances::zero_eigenvalue(eigenvalues.scalar_type(), eigenvalues.size(-1)) *
      eigenvalues.abs().amax({-1}, /*keepdim=*/true);
}

Tensor values(const ScalarFunction& f, const Tensor& eigenvalues) {
  const auto form = form_of(f);
  if (form == Form::given) {
    const auto smearing = smearing_of(f.name);
    return smearing ? smeared_values(*smearing, eigenvalues) : f.jets.select(-2, 0);
  }
  Tensor result;
  const auto x = without_noise_at_zero(f, eigenvalues);
  with_form<TensorArithmetic>(form, exponent_of(f), [&](const auto& formula) { result = formula.value(x); });
  return result;
}

} // namespace spectralgrad::math
