#include "ops/polar_factor_vjp.h"

#include "autograd/constant.h"
#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "core/optional_tensor.h"
#include "kernels/polar/polar.h"
#include "math/pairs/judge_polar_factor.h"
#include "ops/polar_quotient.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor judged(const Tensor& W_cotangent, const Tensor& W, const Tensor& values, const Tensor& vectors, bool proper) {
  return math::judge_polar_factor(
      autograd::constant(W_cotangent),
      autograd::constant(W),
      autograd::constant(values),
      autograd::constant(vectors),
      proper);
}

Tensor polar_factor_vjp_kernel(
    const OptionalTensor& W_cotangent,
    const OptionalTensor& trace_cotangent,
    const Tensor& A,
    const Tensor& W,
    const Tensor& values,
    const Tensor& vectors,
    bool proper,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  Tensor result;
  if (W_cotangent) {
    const auto zeros = judged(*W_cotangent, W, values, vectors, proper);
    result = polar_factor_derivative(*W_cotangent, A, W, values, vectors) + zeros.unsqueeze(-2);
  }
  if (trace_cotangent) {
    const auto of_trace = trace_cotangent->unsqueeze(-1).unsqueeze(-1) * W;
    result = result.defined() ? result + of_trace : of_trace;
  }
  return result.contiguous();
}

Tensor polar_factor_vjp_on_cpu(
    const OptionalTensor& W_cotangent,
    const OptionalTensor& trace_cotangent,
    const Tensor& A,
    const Tensor& W,
    const Tensor& values,
    const Tensor& vectors,
    bool proper,
    std::string_view caller) {
  if (!kernels::polar_goes_to_lanes(A)) {
    return polar_factor_vjp_kernel(W_cotangent, trace_cotangent, A, W, values, vectors, proper, caller);
  }
  const autograd::TensorCode tensor_code;
  auto result = kernels::polar_vjp(
      tensor_or_undefined(W_cotangent),
      tensor_or_undefined(trace_cotangent),
      W,
      values,
      vectors,
      proper);
  if (result.vanishes && checks() != Checks::ignore) {
    const CallerNameGuard guard(caller);
    judged(*W_cotangent, W, values, vectors, proper);
  }
  return std::move(result.gradient);
}

Tensor polar_factor_vjp_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& A,
    const Tensor&,
    const Tensor&,
    const Tensor&,
    bool,
    std::string_view) {
  return at::empty_symint(A.sym_sizes(), A.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::polar_factor_vjp", polar_factor_vjp_meta> polar_factor_vjp_op;

} // namespace

Tensor polar_factor_derivative(
    const Tensor& E,
    const Tensor& A,
    const Tensor& W,
    const Tensor& given_values,
    const Tensor& given_vectors) {
  const auto values = autograd::constant(given_values);
  const auto vectors = autograd::constant(given_vectors);
  const auto P = at::matmul(W.mH(), A);
  const auto inner = at::matmul(W.mH(), E);
  const auto Omega = polar_quotient(P, inner - inner.mH(), values, vectors, /*both_sides=*/true);
  auto turned = at::matmul(W, Omega);
  if (A.sym_size(-2) == A.sym_size(-1)) {
    return turned;
  }
  return turned + polar_quotient(P, E - at::matmul(W, inner), values, vectors, /*both_sides=*/false);
}

Tensor polar_factor_vjp(
    const Tensor& W_cotangent,
    const Tensor& trace_cotangent,
    const Tensor& A,
    const Tensor& W,
    const Tensor& values,
    const Tensor& vectors,
    bool proper) {
  if (!W_cotangent.defined() && !trace_cotangent.defined()) {
    return {};
  }
  return polar_factor_vjp_op
      .call(optional(W_cotangent), optional(trace_cotangent), A, W, values, vectors, proper, caller_name("polar"));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "polar_factor_vjp(Tensor? W_cotangent, Tensor? trace_cotangent, Tensor A, Tensor W, Tensor values, "
      "Tensor vectors, bool proper, str caller=\"polar\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("polar_factor_vjp", polar_factor_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, CPU, library) {
  library.impl("polar_factor_vjp", polar_factor_vjp_on_cpu);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("polar_factor_vjp", polar_factor_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("polar_factor_vjp", autograd::recomputed_kernel<polar_factor_vjp_op, polar_factor_vjp_kernel>());
}

} // namespace spectralgrad::ops
