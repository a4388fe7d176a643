#include "kernels/spectral_function.h"

#include "derivatives/spectral_function.h"
#include "derivatives/tolerances.h"
#include "kernels/batch_layout.h"
#include "kernels/eigh_method.h"
#include "kernels/for_each_register.h"
#include "kernels/lanes/batch_spectral_function.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;
using derivatives::Form;
using derivatives::ScalarFunction;

Tensor in_lanes(
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
  // Differences that are given are finite here.
  const bool singular_at_zero = direction.defined() && !given.defined() && derivatives::is_singular_at_zero(f);
  const auto lost = singular_at_zero && checks() != Checks::ignore ? at::empty({count}, L.options().dtype(at::kBool))
                                                                   : Tensor();
  AT_DISPATCH_FLOATING_TYPES(L.scalar_type(), "spectral_function", [&] {
    const auto dtype = L.scalar_type();
    const auto& kernel = lanes::for_this_machine<lanes::SpectralFunctionKernel<scalar_t>>();
    const auto* given_numbers = row<scalar_t>(numbers, 0, n);
    const lanes::SpectralFunctionBatch<scalar_t> batch{
        static_cast<int>(n),
        V.is_complex(),
        L.const_data_ptr<scalar_t>(),
        matrices<scalar_t>(V),
        E.defined() ? matrices<scalar_t>(E) : lanes::Matrices<scalar_t>{},
        derivatives::form_of(f),
        derivatives::exponent_of(f),
        E.defined() ? nullptr : given_numbers,
        E.defined() ? given_numbers : nullptr,
        singular_at_zero,
        static_cast<scalar_t>(tolerances::zero_eigenvalue(dtype, n)),
        lost.defined() ? lost.mutable_data_ptr<bool>() : nullptr,
        static_cast<scalar_t>(tolerances::gauge(dtype)),
        static_cast<scalar_t*>(result.mutable_data_ptr())};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex);
    for_each_register<scalar_t>(count, n, kernel.lanes, workspace, [&](int64_t begin, int64_t end, scalar_t* memory) {
      kernel.apply(batch, begin, end, memory);
    });
  });
  if (lost.defined()) {
    const auto* begin = lost.const_data_ptr<bool>();
    const auto* first = std::find(begin, begin + count, true);
    if (first != begin + count) {
      derivatives::warn_of_infinite_derivative(f, first - begin);
    }
  }
  return result;
}

/// Whether all is there as it is without broadcasting.
bool fits(const Tensor& x, at::IntArrayRef sizes, at::ScalarType dtype) {
  return x.sizes() == sizes && x.scalar_type() == dtype && x.device().is_cpu();
}

} // namespace

Tensor spectral_function(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  const auto by_tensor_code = [&] {
    return derivatives::spectral_function(f, eigenvalues, eigenvectors, directions);
  };
  const auto vectors = eigenvectors.sizes().slice(0, eigenvectors.dim() - 1);
  const auto real = c10::toRealValueType(eigenvectors.scalar_type());
  if (eigenvectors.numel() == 0 || directions.size() > 1 || !fits(eigenvalues, vectors, real) ||
      !pass_in_lanes(eigenvectors)) {
    return by_tensor_code();
  }
  const auto direction = directions.empty() ? Tensor() : directions[0];
  if (direction.defined()) {
    if (!fits(direction, eigenvectors.sizes(), eigenvectors.scalar_type())) {
      return by_tensor_code();
    }
    derivatives::require_derivatives(f);
  }
  Tensor given;
  if (derivatives::form_of(f) == Form::given) {
    given = direction.defined() ? derivatives::first_differences(f, eigenvalues) : derivatives::values(f, eigenvalues);
    if (!fits(given, direction.defined() ? eigenvectors.sizes() : vectors, real)) {
      return by_tensor_code();
    }
    if (direction.defined() && derivatives::is_singular_at_zero(f) && given.isinf().any().item<bool>()) {
      return by_tensor_code();
    }
  }
  return in_lanes(f, eigenvalues, eigenvectors, direction, given);
}

} // namespace spectralgrad::kernels
