#include "ops/spectral_function_on_cpu.h"

#include "core/tolerances.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"
#include "kernels/spectral_function/simd_spectral_function.h"
#include "math/judge_directions.h"
#include "math/spectral_function.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using kernels::by_rows;
using kernels::by_rows_or_columns;
using kernels::matrices;
using kernels::row;
using math::Form;
using math::ScalarFunction;

Tensor function_in_lanes(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& direction,
    const Tensor& given) {
  const auto L = by_rows(eigenvalues);
  const auto V = by_rows_or_columns(eigenvectors);
  const auto E = direction.defined() ? by_rows_or_columns(direction) : Tensor();
  const auto numbers = given.defined() ? by_rows(given) : Tensor();
  const auto n = V.size(-1);
  const auto count = V.numel() / (n * n);
  auto result = at::empty_like(V, at::MemoryFormat::Contiguous);
  const bool singular_at_zero = math::is_singular_at_zero(f);
  const auto kind = math::direction_kind(f);
  const bool is_infinite = direction.defined() && singular_at_zero && math::finite_derivatives_at_zero(f) == 0;
  const bool is_judged = is_infinite && kind != math::DirectionKind::change && checks() != Checks::ignore;
  const auto lost = is_judged ? at::empty({count}, L.options().dtype(at::kBool)) : Tensor();
  AT_DISPATCH_FLOATING_TYPES(L.scalar_type(), "spectral_function", [&] {
    const auto dtype = L.scalar_type();
    const auto* given_numbers = row<scalar_t>(numbers, 0, n);
    const kernels::simd::SpectralFunctionBatch<scalar_t> batch{
        static_cast<int>(n),
        V.is_complex(),
        L.const_data_ptr<scalar_t>(),
        matrices<scalar_t>(V),
        E.defined() ? matrices<scalar_t>(E) : kernels::simd::Matrices<scalar_t>{},
        math::form_of(f),
        math::exponent_of(f),
        E.defined() ? nullptr : given_numbers,
        E.defined() ? given_numbers : nullptr,
        singular_at_zero,
        is_infinite,
        kind == math::DirectionKind::cotangent,
        static_cast<scalar_t>(tolerances::zero_eigenvalue(dtype, n)),
        lost.defined() ? lost.mutable_data_ptr<bool>() : nullptr,
        static_cast<scalar_t>(tolerances::gauge(dtype)),
        static_cast<scalar_t*>(result.mutable_data_ptr())};
    kernels::run_in_lanes(batch, count);
  });
  if (lost.defined()) {
    const auto* begin = lost.const_data_ptr<bool>();
    const auto* first = std::find(begin, begin + count, true);
    if (first != begin + count) {
      math::warn_of_infinite_derivative(f, first - begin);
    }
  }
  return result;
}

/// Whether `x` is a CPU tensor of exactly this size and dtype.
bool fits(const Tensor& x, at::IntArrayRef sizes, at::ScalarType dtype) {
  return x.sizes() == sizes && x.scalar_type() == dtype && x.device().is_cpu();
}

} // namespace

Tensor spectral_function_on_cpu(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  const auto by_tensor_code = [&] {
    return math::spectral_function(f, eigenvalues, eigenvectors, directions);
  };
  const auto vectors = eigenvectors.sizes().slice(0, eigenvectors.dim() - 1);
  const auto real = c10::toRealValueType(eigenvectors.scalar_type());
  if (eigenvectors.numel() == 0 || directions.size() > 1 || !fits(eigenvalues, vectors, real) ||
      !kernels::pass_in_lanes(kernels::batch_traits(eigenvectors)) ||
      (!directions.empty() && math::has_partly_filled_level(f))) {
    return by_tensor_code();
  }
  const auto direction = directions.empty() ? Tensor() : directions[0];
  if (direction.defined()) {
    if (!fits(direction, eigenvectors.sizes(), eigenvectors.scalar_type())) {
      return by_tensor_code();
    }
    math::require_derivatives(f);
  }
  Tensor given;
  if (math::form_of(f) == Form::given) {
    if (direction.defined() && f.jets.size(-2) > 1 && f.jets.select(-2, 1).isinf().any().item<bool>()) {
      return by_tensor_code(); // which judges the direction
    }
    given = direction.defined() ? math::first_differences(f, eigenvalues) : math::values(f, eigenvalues);
    if (!fits(given, direction.defined() ? eigenvectors.sizes() : vectors, real)) {
      return by_tensor_code();
    }
  }
  return function_in_lanes(f, eigenvalues, eigenvectors, direction, given);
}

} // namespace spectralgrad::ops
