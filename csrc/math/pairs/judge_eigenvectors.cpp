#include "math/pairs/judge_eigenvectors.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "core/tolerances.h"
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
    const Tensor& divided,
    const Tensor& cotangent_norms,
    const Tensor& noise,
    const Tensor& gradient_norm,
    const Tensor& eigenvalues,
    const Tensor& inverse_norms,
    const Tensor& condition,
    const Tensor& matrix_size) {
  using complex_t = c10::complex<real_t>;
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  const auto n = eigenvalues.size(-1);
  math::GeneralFindings worst;
  for (int64_t i = 0; i < eigenvalues.numel() / n; ++i) {
    const auto* g = math::numbers_or_null<complex_t>(cotangents, i, n);
    const auto* entries = math::numbers_or_null<complex_t>(S, i, n * n);
    const auto* N = math::numbers_or_null<real_t>(magnitude, i, n * n);
    const auto* D = math::numbers_or_null<complex_t>(divided, i, n * n);
    const auto* norms = math::numbers_or_null<real_t>(inverse_norms, i, n);
    const auto entry = [&](int64_t row, int64_t column) {
      return entries[row * n + column];
    };
    const auto size = [&](int64_t row, int64_t column) {
      return N[row * n + column];
    };
    const math::GeneralMatrix<real_t, decltype(entry), decltype(size)> matrix{
        n,
        math::numbers_or_null<complex_t>(eigenvalues, i, n),
        g,
        entries != nullptr,
        entry,
        size,
        norms,
        math::numbers_or_null<real_t>(cotangent_norms, i, n),
        math::numbers_or_null<real_t>(matrix_size, i, 1)[0],
        math::largest_absolute(g, n),
        math::largest_condition(norms, n),
        largest_size(N, n * n)};
    const auto include = [&](math::GeneralFindings findings) {
      findings.ill_conditioned.condition_of_V = math::numbers_or_null<real_t>(condition, i, 1)[0];
      worst.include(findings);
    };
    include(math::judge_general(matrix, i));
    math::RoundOff round_off;
    const auto* noises = math::numbers_or_null<real_t>(noise, i, n);
    for (int64_t j = 0; matrix.has_S && j < n * n; ++j) {
      const auto error = static_cast<real_t>(tolerances::eps(dtype)) * noises[j % n];
      round_off.include(matrix.pair(j / n, j % n), j / n, j % n, entries[j], D[j], error);
    }
    include({{}, round_off.compared_with(math::numbers_or_null<real_t>(gradient_norm, i, 1)[0], dtype, i)});
  }
  worst.report();
}

Tensor judge_eigenvectors_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& S,
    const OptionalTensor& magnitude,
    const OptionalTensor& divided,
    const OptionalTensor& cotangent_norms,
    const OptionalTensor& noise,
    const Tensor& gradient_norm,
    const Tensor& eigenvalues,
    const Tensor& inverse_norms,
    const Tensor& condition,
    const Tensor& matrix_size,
    std::string_view caller) {
  auto result = at::zeros(gradient_norm.sizes(), gradient_norm.options());
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
        on_host(divided),
        on_host(cotangent_norms),
        on_host(noise),
        on_host(gradient_norm),
        on_host(eigenvalues),
        on_host(inverse_norms),
        on_host(condition),
        on_host(matrix_size));
  });
  return result;
}

Tensor judge_eigenvectors_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& gradient_norm,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    std::string_view) {
  return at::empty_symint(gradient_norm.sym_sizes(), gradient_norm.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_eigenvectors", judge_eigenvectors_meta> judge_eigenvectors_op;

} // namespace

namespace math {

Tensor judge_eigenvectors(
    const GeneralCotangents& cotangents,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& inverse,
    const Tensor& A) {
  const auto norm = [](const Tensor& x, at::IntArrayRef dimensions) {
    return x.defined() ? at::linalg_vector_norm(autograd::constant(x), 2, dimensions) : Tensor();
  };
  const auto zeros = judge_eigenvectors_op.call(
      optional(cotangents.eigenvalues),
      optional(cotangents.S),
      optional(cotangents.magnitude),
      optional(cotangents.divided),
      optional(norm(cotangents.eigenvectors, {-2})),
      optional(cotangents.noise),
      norm(cotangents.gradient, {-2, -1}),
      eigenvalues,
      norm(inverse, {-1}),
      norm(inverse, {-2, -1}) * norm(eigenvectors, {-2, -1}),
      size_of_matrix(autograd::constant(A), autograd::constant(eigenvalues)),
      caller_name("eig"));
  return zeros.unsqueeze(-1).unsqueeze(-1);
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_eigenvectors(Tensor? eigenvalues_cotangent, Tensor? S, Tensor? magnitude, Tensor? divided, "
      "Tensor? cotangent_norms, Tensor? noise, Tensor gradient_norm, Tensor eigenvalues, Tensor inverse_norms, "
      "Tensor condition, Tensor matrix_size, str caller=\"eig\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_eigenvectors", judge_eigenvectors_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_eigenvectors", judge_eigenvectors_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_eigenvectors", judge_eigenvectors_op.constant_kernel());
}

} // namespace spectralgrad
