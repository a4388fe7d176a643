#include "ops/spectral_function.h"

#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/optional_tensor.h"
#include "math/spectral_function.h"
#include "ops/spectral_function_on_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using math::ScalarFunction;

std::vector<Tensor> defined(std::initializer_list<OptionalTensor> tensors) {
  std::vector<Tensor> result;
  for (const auto& x : tensors) {
    if (x && x->defined()) {
      result.push_back(*x);
    }
  }
  return result;
}

/// Whether max|lambda| of all matrices is so near 1 that gaps and their inverse squares stay inside the range of
/// float32. Returns false on other devices than the CPU, because the transfer would take longer than what it saves.
bool is_near_one(const Tensor& eigenvalues) {
  if (!eigenvalues.device().is_cpu() || !eigenvalues.is_contiguous()) {
    return false;
  }
  constexpr double far = 1LL << 40;
  bool result = true;
  AT_DISPATCH_FLOATING_TYPES(eigenvalues.scalar_type(), "spectral_function", [&] {
    const auto n = eigenvalues.size(-1);
    const auto* lambda = eigenvalues.const_data_ptr<scalar_t>();
    for (int64_t i = 0; i < eigenvalues.numel(); i += n) {
      const double largest = std::max(std::abs(lambda[i]), std::abs(lambda[i + n - 1])); // ascending
      result = result && 1 / far < largest && largest < far;
    }
  });
  return result;
}

/// Calls `function`. Steps do not depend on the scale of A, so they are differentiated in units in which no gap
/// overflows.
template <auto function>
Tensor in_units(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  if (f.name != "steps" || directions.empty() || eigenvalues.numel() == 0 || is_near_one(eigenvalues)) {
    return function(f, eigenvalues, eigenvectors, directions);
  }
  const double smallest_normal = eigenvalues.scalar_type() == at::kFloat ? std::numeric_limits<float>::min()
                                                                         : std::numeric_limits<double>::min();
  const auto unit = power_of_two_below(eigenvalues).clamp_min(smallest_normal); // its inverse is finite
  std::vector<Tensor> scaled;
  scaled.reserve(directions.size());
  for (const auto& E : directions) {
    scaled.push_back(E / unit.unsqueeze(-1));
  }
  return function(f, eigenvalues / unit, eigenvectors, scaled);
}

template <auto function>
Tensor spectral_function_with(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const OptionalTensor& jets,
    const OptionalTensor& first_direction,
    const OptionalTensor& second_direction,
    std::string_view name,
    c10::ArrayRef<double> parameters,
    const OptionalTensor& third_direction) {
  const autograd::TensorCode tensor_code;
  return function(
      {std::string(name), parameters.vec(), tensor_or_undefined(jets)},
      eigenvalues,
      eigenvectors,
      defined({first_direction, second_direction, third_direction}));
}

Tensor spectral_function_meta(
    const Tensor&,
    const Tensor&,
    const Tensor& eigenvectors,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    std::string_view,
    c10::ArrayRef<double>,
    const OptionalTensor&) {
  return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::spectral_function", spectral_function_meta> spectral_function_op;

Tensor transposed_kernel(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& jets,
    const Tensor& first_direction,
    const OptionalTensor& second_direction,
    const OptionalTensor& third_direction) {
  const autograd::TensorCode tensor_code;
  return math::spectral_function_transposed(
      {"jets", {}, jets},
      eigenvalues,
      eigenvectors,
      defined({first_direction, second_direction, third_direction}));
}

Tensor transposed_meta(
    const Tensor&,
    const Tensor&,
    const Tensor&,
    const Tensor& jets,
    const Tensor&,
    const OptionalTensor&,
    const OptionalTensor&) {
  return at::empty_like(jets, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::spectral_function_transposed", transposed_meta> transposed_op;

} // namespace

Tensor call_spectral_function(
    const autograd::variable_list& inputs,
    std::string_view function,
    c10::ArrayRef<double> parameters) {
  return spectral_function_op.call(
      inputs[0],
      inputs[1],
      inputs[2],
      optional(inputs[3]),
      optional(inputs[4]),
      optional(inputs[5]),
      function,
      parameters,
      optional(inputs[6]));
}

Tensor call_spectral_function_transposed(const autograd::variable_list& inputs) {
  return transposed_op
      .call(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], optional(inputs[5]), optional(inputs[6]));
}

Tensor spectral_function(const ScalarFunction& f, const Eigenpairs& pairs) {
  return call_spectral_function(
      {pairs.A, pairs.eigenvalues, pairs.eigenvectors, f.jets, Tensor(), Tensor(), Tensor()},
      f.name,
      f.parameters);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "spectral_function(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor? jets, Tensor? first_direction, "
      "Tensor? second_direction, str function, float[] parameters, Tensor? third_direction=None) -> Tensor");
  library.def(
      "spectral_function_transposed(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor jets, "
      "Tensor first_direction, Tensor? second_direction, Tensor? third_direction=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("spectral_function", spectral_function_with<in_units<math::spectral_function>>);
  library.impl("spectral_function_transposed", transposed_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("spectral_function", spectral_function_with<in_units<spectral_function_on_cpu>>);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("spectral_function", spectral_function_meta);
  library.impl("spectral_function_transposed", transposed_meta);
}

} // namespace spectralgrad::ops
