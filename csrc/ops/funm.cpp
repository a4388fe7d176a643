#include <spectralgrad/funm.h>

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "core/tolerances.h"
#include "ops/arguments.h"
#include "ops/spectral_function.h"
#include "ops/spectral_trace.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <cmath>
#include <limits>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::Eigenpairs;

/// Differentiates y once more by reverse mode. Keeps the graph, so that tensors that f uses get gradients. Undefined if
/// y does not depend on x.
Tensor differentiate(const Tensor& y, const Tensor& x) {
  if (!y.requires_grad()) {
    return {};
  }
  return torch::autograd::grad(
      {y.sum()},
      {x},
      {},
      /*retain_graph=*/true,
      /*create_graph=*/true,
      /*allow_unused=*/true)[0];
}

/// A given function and the matrix, in units of about max|lambda|. In these units derivatives of f do not overflow
/// unnecessarily.
struct Given {
  Eigenpairs pairs;
  Tensor jets; // (*, K+1, n); values only if no derivative is needed

  /// `slope_at_zero` replaces an infinite slope at 0.
  Given(
      const char* function,
      const Tensor& A,
      const std::array<const ElementwiseFunction*, 4>& given,
      double slope_at_zero)
      : pairs(ops::eigenpairs(function, A)), function_(function), given_(given) {
    TORCH_CHECK_VALUE(*given[0], "spectralgrad.", function, ": Expected f to be a function, but it is empty");
    unit_ = ops::power_of_two_below(pairs.eigenvalues);
    pairs.A = A / unit_.unsqueeze(-1);
    pairs.eigenvalues = pairs.eigenvalues / unit_;
    const auto zero = find_zero();
    auto& x = pairs.eigenvalues;
    if (zero.counts.defined()) {
      x = at::where(zero.counts, at::zeros_like(x), x);
    }
    const auto y = call(0, x);
    check_values(y);
    const auto order = autograd::is_differentiated(A) ? tolerances::jet_order : 0;
    if (order == 0) {
      jets = y.unsqueeze(-2);
      return;
    }
    const bool made_of_more = y.requires_grad() || torch::autograd::isFwGradDefined(y);
    const at::AutoGradMode enable(true);
    // Evaluated away from 0. Otherwise, gradients of tensors that f uses would contain 0 times an infinite derivative,
    // NaN.
    const bool is_infinite = zero.counts.defined() && zero.infinite_slope.any().item<bool>();
    auto rows = derivatives_at(is_infinite ? at::where(zero.infinite_slope, at::ones_like(x), x) : x, order);
    if (is_infinite) {
      rows[0] = call(0, x);
      if (rows.size() > 1) {
        rows[1] = rows[1].masked_fill(zero.infinite_slope, slope_at_zero);
      }
    }
    for (size_t k = 2; zero.counts.defined() && k < rows.size(); ++k) {
      const auto infinite = zero.counts.logical_and(rows[k].detach().isfinite().logical_not());
      rows[k] = rows[k].masked_fill(zero.infinite_slope.logical_or(infinite), 0);
    }
    jets = at::stack(rows, -2);
    if (!made_of_more) {
      jets = jets.detach();
    }
  }

 private:
  /// The masks of the eigenvalues that count as 0, and of those among them at which f has no finite slope. Undefined if
  /// there are none.
  struct Zero {
    Tensor counts;
    Tensor infinite_slope;
  };

  /// The k-th derivative of x -> f(unit x), if it is given.
  Tensor call(int64_t k, const Tensor& x) const {
    const auto y = (*given_[static_cast<size_t>(k)])(unit_ * x);
    check(function_, k, x, y);
    return k == 0 ? y : y * unit_.pow(k);
  }

  /// The derivatives up to `order`, as far as they are given or autograd finds them.
  std::vector<Tensor> derivatives_at(const Tensor& at_x, int64_t order) const {
    const auto x = at_x.detach().requires_grad_();
    std::vector<Tensor> rows;
    int64_t last_given = 0;
    for (int64_t k = 0; k <= order; ++k) {
      if (k < 4 && *given_[static_cast<size_t>(k)]) {
        last_given = k;
        rows.push_back(call(k, x));
        continue;
      }
      auto derivative = differentiate(rows.back(), x);
      if (!derivative.defined()) {
        // A constant function has no graph, and neither has a function that autograd cannot see. A step in x
        // distinguishes them.
        const at::NoGradGuard no_grad;
        const auto step = std::pow(tolerances::eps(x.scalar_type()), 0.25);
        if (k == last_given + 1 && !at::equal(call(last_given, x), call(last_given, x + step))) {
          break;
        }
        derivative = at::zeros_like(x);
      }
      rows.push_back(std::move(derivative));
    }
    return rows;
  }

  /// f'. It is 0 if no derivative of f is known, which only matters if one is requested.
  Tensor slope_at(const Tensor& x) const {
    const at::AutoGradMode enable(true);
    try {
      const auto rows = derivatives_at(x, 1);
      return rows.size() > 1 ? rows[1].detach() : at::zeros_like(x);
    } catch (const c10::Error&) {
      return at::zeros_like(x);
    }
  }

  /// A function that has a value at 0 and none below it, or an infinite slope at 0, is one of semidefinite matrices.
  /// Then eigenvalues count as 0 that are 0 up to round-off.
  Zero find_zero() const {
    const auto& x = pairs.eigenvalues;
    if (x.numel() == 0) {
      return {};
    }
    auto near = x.abs() <= math::zero_threshold(x);
    if (!near.any().item<bool>()) {
      return {};
    }
    const auto zero = at::zeros_like(x);
    const auto slope = slope_at(zero);
    const auto tolerance = tolerances::zero_eigenvalue(x.scalar_type(), x.size(-1));
    const auto ends = call(0, zero - tolerance).detach().isfinite().logical_not();
    // If f is defined above 0 only, NaN is the slope of x log x, which autograd computes as inf - inf. Otherwise it may
    // be an error in f.
    const auto infinite = slope.isinf().logical_or(ends.logical_and(slope.isnan()));
    near = near.logical_and(call(0, zero).detach().isfinite());
    return {near.logical_and(ends.logical_or(infinite)), near.logical_and(infinite)};
  }

  void check_values(const Tensor& y) const {
    const auto bad = y.isnan().logical_and(pairs.eigenvalues.isfinite());
    if (checks() == Checks::ignore || !bad.any().item<bool>()) {
      return;
    }
    const auto n = y.size(-1);
    const auto place = bad.reshape({-1}).nonzero()[0].item<int64_t>();
    TORCH_CHECK_LINALG(
        false,
        "spectralgrad.",
        function_,
        ": ",
        ops::batch_element(y.dim() > 1, place / n),
        "Expected f to be defined at every eigenvalue of A, but f is NaN at the eigenvalue ",
        (pairs.eigenvalues * unit_).reshape({-1})[place].item<double>(),
        ". For a singular A, spectralgrad::pinvm and spectralgrad::pseudo_logdet take the inverse and log det on the "
        "range; for x log x call at::special_entr or at::special_xlogy in f, which are 0 at 0");
  }

  static void check(const char* function, int64_t k, const Tensor& x, const Tensor& y) {
    constexpr std::array names{"f", "df", "d2f", "d3f"};
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

  const char* function_;
  std::array<const ElementwiseFunction*, 4> given_;
  Tensor unit_;
};

} // namespace

Tensor funm(
    const Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df,
    const ElementwiseFunction& d2f,
    const ElementwiseFunction& d3f) {
  const Given given("funm", A, {&f, &df, &d2f, &d3f}, std::numeric_limits<double>::infinity());
  return ops::spectral_function({"jets", {}, given.jets}, given.pairs);
}

Tensor trace_funm(
    const Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df,
    const ElementwiseFunction& d2f,
    const ElementwiseFunction& d3f) {
  const Given given("trace_funm", A, {&f, &df, &d2f, &d3f}, 0);
  return ops::spectral_trace(given.pairs, given.jets);
}

} // namespace spectralgrad
