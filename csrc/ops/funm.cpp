#include <spectralgrad/funm.h>

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "ops/spectral_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
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

Tensor apply(const char* function, const Tensor& A, std::string_view domain, const math::ScalarFunction& f) {
  return ops::spectral_function(f, ops::eigenpairs(function, A, domain));
}

/// One derivative more, by reverse mode; it keeps its graph, for what f is made of.
Tensor differentiate(const Tensor& y, const Tensor& x) {
  if (!y.requires_grad()) {
    return at::zeros_like(x);
  }
  const auto result =
      torch::autograd::grad({y.sum()}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true, /*allow_unused=*/true);
  return result[0].defined() ? result[0] : at::zeros_like(x);
}

/// A function that is given, and the matrix, in units of about max|lambda|, where no derivative of f over- or underflows that
/// need not.
struct Given {
  Eigenpairs pairs;
  Tensor jets; // (*, K+1, n); of f alone where nothing else will be asked for

  Given(const char* function, const Tensor& A, const std::array<const ElementwiseFunction*, 3>& given)
      : pairs(ops::eigenpairs(function, A)) {
    TORCH_CHECK_VALUE(*given[0], "spectralgrad.", function, ": Expected f to be a function, but it is empty");
    const auto unit = power_of_two_below(pairs.eigenvalues);
    pairs.A = A / unit.unsqueeze(-1);
    pairs.eigenvalues = pairs.eigenvalues / unit;
    const auto order = autograd::is_differentiated(A) ? math::jet_order : 0;
    const auto call = [&](int64_t k, const Tensor& x) {
      const auto y = (*given[static_cast<size_t>(k)])(unit * x);
      check(function, k, x, y);
      return k == 0 ? y : y * unit.pow(k);
    };
    const auto y = call(0, pairs.eigenvalues);
    if (order == 0) {
      jets = y.unsqueeze(-2);
      return;
    }
    const bool made_of_more = y.requires_grad() || torch::autograd::isFwGradDefined(y);
    const at::AutoGradMode enable(true);
    const auto x = pairs.eigenvalues.detach().requires_grad_();
    std::vector<Tensor> rows;
    for (int64_t k = 0; k <= order; ++k) {
      const bool is_given = k < 3 && *given[static_cast<size_t>(k)];
      rows.push_back(is_given ? call(k, x) : differentiate(rows.back(), x));
    }
    jets = at::stack(rows, -2);
    if (!made_of_more) {
      jets = jets.detach();
    }
  }

  static Tensor power_of_two_below(const Tensor& eigenvalues) {
    if (eigenvalues.size(-1) == 0) {
      return at::ones_like(eigenvalues).sum({-1}, /*keepdim=*/true) + 1;
    }
    const auto unit = eigenvalues.abs().amax({-1}, /*keepdim=*/true).log2().floor().exp2();
    return at::where((unit > 0).logical_and(unit.isfinite()), unit, at::ones_like(unit));
  }

  static void check(const char* function, int64_t k, const Tensor& x, const Tensor& y) {
    constexpr std::array names{"f", "df", "d2f"};
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
  }
};

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
  const auto domain = integer ? (p < 0 ? Domain::nonzero : Domain::all)
                              : (p < 0 ? Domain::positive : Domain::nonnegative);
  return apply("powm", A, domain, {"power", {p}, {}});
}

Tensor funm(
    const Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df,
    const ElementwiseFunction& d2f) {
  const Given given("funm", A, {&f, &df, &d2f});
  return ops::spectral_function({"jets", {}, given.jets}, given.pairs);
}

Tensor trace_funm(
    const Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df,
    const ElementwiseFunction& d2f) {
  const Given given("trace_funm", A, {&f, &df, &d2f});
  return ops::spectral_trace(given.pairs, given.jets);
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
