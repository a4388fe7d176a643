#include <spectralgrad/funm.h>

#include "derivatives/constant.h"
#include "ops/spectral_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/real.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/library.h>

#include <array>
#include <cmath>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::Domain;
using ops::Eigenpairs;

Tensor apply(const char* function, const Tensor& A, std::string_view domain, derivatives::ScalarFunction f) {
  return ops::spectral_function(f, ops::eigenpairs(function, A, domain));
}

/// One derivative more of the rows so far, by reverse mode; that of f keeps its graph, for what f is made of.
Tensor differentiate(const Tensor& y, const Tensor& x) {
  if (!y.requires_grad()) {
    return at::zeros_like(x);
  }
  const auto result = torch::autograd::grad({y.sum()}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true, /*allow_unused=*/true);
  return result[0].defined() ? result[0] : at::zeros_like(x);
}

/// f and its derivatives at the eigenvalues: (*, K+1, n); only f where nothing else will be asked for.
Tensor jets(
    const char* function,
    const Tensor& A,
    const Tensor& eigenvalues,
    const std::array<const ElementwiseFunction*, 3>& given) {
  const auto order = derivatives::is_differentiated(A) ? derivatives::jet_order : 0;
  const at::AutoGradMode enable(order > 0 || at::GradMode::is_enabled());
  const auto x = order > 0 ? eigenvalues.detach().requires_grad_() : eigenvalues;
  constexpr std::array names{"f", "df", "d2f"};
  std::vector<Tensor> rows;
  for (int64_t k = 0; k <= order; ++k) {
    const auto* f = k < 3 ? given[static_cast<size_t>(k)] : nullptr;
    if (f != nullptr && *f) {
      rows.push_back((*f)(x));
      const auto& y = rows.back();
      TORCH_CHECK_VALUE(
          y.defined() && y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type(),
          "spectralgrad.",
          function,
          ": Expected ",
          names[static_cast<size_t>(k)],
          " to return a tensor of the shape and dtype of its argument, ",
          x.sizes(),
          " and ",
          x.dtype(),
          y.defined() ? c10::str(", but got ", y.sizes(), " and ", y.dtype()) : ", but it is undefined");
    } else {
      rows.push_back(differentiate(rows.back(), x));
    }
  }
  return at::stack(rows, -2);
}

} // namespace

Tensor expm(const Tensor& A) {
  return apply("expm", A, Domain::all, {"exp", {}, {}});
}

Tensor logm(const Tensor& A) {
  return apply("logm", A, Domain::positive, {"log", {}, {}});
}

Tensor sqrtm(const Tensor& A) {
  return apply("sqrtm", A, Domain::nonnegative, {"sqrt", {}, {}});
}

Tensor invsqrtm(const Tensor& A) {
  return apply("invsqrtm", A, Domain::positive, {"invsqrt", {}, {}});
}

Tensor powm(const Tensor& A, double p) {
  TORCH_CHECK_VALUE(std::isfinite(p), "spectralgrad.powm: Expected p to be finite, but got ", p);
  const bool integer = p == std::floor(p);
  const auto domain = integer ? (p < 0 ? Domain::nonzero : Domain::all) : (p < 0 ? Domain::positive : Domain::nonnegative);
  return apply("powm", A, domain, {"power", {p}, {}});
}

Tensor funm(const Tensor& A, const ElementwiseFunction& f, const ElementwiseFunction& df, const ElementwiseFunction& d2f) {
  const auto pairs = ops::eigenpairs("funm", A);
  return ops::spectral_function({"jets", {}, jets("funm", A, pairs.eigenvalues, {&f, &df, &d2f})}, pairs);
}

Tensor trace_funm(
    const Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df,
    const ElementwiseFunction& d2f) {
  const auto pairs = ops::eigenpairs("trace_funm", A);
  return ops::spectral_trace(pairs, jets("trace_funm", A, pairs.eigenvalues, {&f, &df, &d2f}));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("expm(Tensor A) -> Tensor");
  library.def("logm(Tensor A) -> Tensor");
  library.def("sqrtm(Tensor A) -> Tensor");
  library.def("invsqrtm(Tensor A) -> Tensor");
  library.def("powm(Tensor A, float p) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("expm", expm);
  library.impl("logm", logm);
  library.impl("sqrtm", sqrtm);
  library.impl("invsqrtm", invsqrtm);
  library.impl("powm", powm);
}

} // namespace spectralgrad
