#include "math/pairs/judge_eigenvectors.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "math/pairs/judge_batch.h"
#include "math/pairs/judge_general.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
template <typename real_t>
void judge_batch(
    const Tensor& cotangents,
    const Tensor& S,
    const Tensor& magnitude,
    const Tensor& eigenvalues,
    const Tensor& inverse_norms,
    const Tensor& condition,
    const Tensor& matrix_size) {
  using complex_t = c10::complex<real_t>;
  const auto n = eigenvalues.size(-1);
  math::GeneralFindings worst;
  for (int64_t i = 0; i < eigenvalues.numel() / n; ++i) {
    const auto* values = math::numbers_or_null<complex_t>(eigenvalues, i, n);
    const auto* g = math::numbers_or_null<complex_t>(cotangents, i, n);
    const auto* entries = math::numbers_or_null<complex_t>(S, i, n * n);
    const auto* N = math::numbers_or_null<real_t>(magnitude, i, n * n);
    const auto* norms = math::numbers_or_null<real_t>(inverse_norms, i, n);
    const auto entry = [&](int64_t row, int64_t column) {
      return entries[row * n + column];
    };
    const auto size = [&](int64_t row, int64_t column) {
      return N[row * n + column];
    };
    auto findings = math::judge_general(
        math::GeneralMatrix<real_t, decltype(entry), decltype(size)>{
            n,
            values,
            g,
            entries != nullptr,
            entry,
            size,
            norms,
            math::numbers_or_null<real_t>(matrix_size, i, 1)[0],
            math::largest_absolute(g, n),
            math::largest_condition(norms, n),
            largest_size(N, n * n)},
        i);
    findings.ill_conditioned.condition_of_V = math::numbers_or_null<real_t>(condition, i, 1)[0];
    worst.include(findings);
  }
  worst.report();
}

Tensor judge_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& S,
    const OptionalTensor& magnitude,
    const Tensor& eigenvalues,
    const Tensor& inverse_norms,
    const Tensor& condition,
    const Tensor& matrix_size,
    std::string_view caller) {
  auto result = at::zeros(eigenvalues.sizes(), eigenvalues.options());
  if (checks() == Checks::ignore || eigenvalues.numel() == 0) {
    return result;
  }
  const CallerNameGuard guard(caller);
  using math::on_host;
  AT_DISPATCH_FLOATING_TYPES(inverse_norms.scalar_type(), "judge_eigenvectors", [&] {
    judge_batch<scalar_t>(
        on_host(eigenvalues_cotangent),
        on_host(S),
        on_host(magnitude),
        on_host(eigenvalues),
        on_host(inverse_norms),
        on_host(condition),
        on_host(matrix_size));
  });
  return result;
}

Tensor judge_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& eigenvalues,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    std::string_view) {
  return at::empty_symint(eigenvalues.sym_sizes(), eigenvalues.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_eigenvectors", judge_meta> judge_op;

} // namespace

namespace math {

Tensor judge_eigenvectors(
    const Tensor& eigenvalues_cotangent,
    const Tensor& S,
    const Tensor& magnitude,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& inverse,
    const Tensor& A) {
  const auto constant_inverse = autograd::constant(inverse);
  const auto norm = [](const Tensor& x, at::IntArrayRef dimensions) {
    return at::linalg_vector_norm(x, 2, dimensions);
  };
  return with_zeros(
      eigenvalues_cotangent,
      judge_op.call(
          optional(eigenvalues_cotangent),
          optional(S),
          optional(magnitude),
          eigenvalues,
          norm(constant_inverse, {-1}),
          norm(constant_inverse, {-2, -1}) * norm(autograd::constant(eigenvectors), {-2, -1}),
          size_of_matrix(autograd::constant(A), autograd::constant(eigenvalues)),
          caller_name("eig")));
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_eigenvectors(Tensor? eigenvalues_cotangent, Tensor? S, Tensor? magnitude, Tensor eigenvalues, "
      "Tensor inverse_norms, Tensor condition, Tensor matrix_size, str caller=\"eig\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_eigenvectors", judge_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_eigenvectors", judge_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_eigenvectors", judge_op.constant_kernel());
}

} // namespace spectralgrad
