#include <spectralgrad/funm.h>

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/no_autocast.h"
#include "core/tolerances.h"
#include "ops/arguments.h"
#include "ops/spectral_function.h"

#include <spectralgrad/checks.h>

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/library.h>

#include <array>
#include <cmath>
#include <limits>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::Domain;
using ops::Eigenpairs;

Tensor apply(const char* function, const Tensor& A, std::string_view domain, const math::ScalarFunction& f) {
  return ops::spectral_function(f, ops::eigenpairs(function, A, domain));
}

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

// --- powers with an exponent for each matrix
// --------------------------------------------------------------------------------

/// x^p and its derivatives (*, K+1, n), in units of x, at the eigenvalues `x` (*, n), for unit (*, 1) and p (*, n).
/// Differentiable in p. The values are taken at `values_at`, which differs from x at eigenvalues that count as 0 up to
/// round-off.
Tensor jets_of_power(const Tensor& x, const Tensor& values_at, const Tensor& unit, const Tensor& p) {
  const auto constant_p = autograd::recorded_constant(p);
  const auto is_zero = x == 0;
  const auto base = at::where(is_zero, at::ones_like(x), x);
  const auto inverse = unit / base;
  // At 0 every row is a limit and a constant.
  const auto limit = [&](int64_t k, const Tensor& coefficient) {
    const auto order = static_cast<double>(k);
    const auto infinite = coefficient * std::numeric_limits<double>::infinity();
    const auto below = at::where(coefficient == 0, coefficient, infinite);
    const auto at_order = at::where(constant_p == order, coefficient, below);
    return at::where(constant_p > order, at::zeros_like(coefficient), at_order);
  };
  auto powers = base.pow(p);
  std::vector<Tensor> rows{at::where(is_zero, values_at.pow(constant_p), powers)};
  auto coefficient = at::ones_like(p);
  auto constant_coefficient = at::ones_like(constant_p);
  // Higher derivatives overflow in single precision.
  const int64_t order = x.scalar_type() == at::kDouble ? 6 : 4;
  for (int64_t k = 1; k <= order; ++k) {
    const auto factor = p - static_cast<double>(k - 1);
    coefficient = coefficient * factor;
    constant_coefficient = constant_coefficient * (constant_p - static_cast<double>(k - 1));
    powers = powers * inverse;
    rows.push_back(at::where(is_zero, limit(k, constant_coefficient), coefficient * powers));
  }
  return at::stack(rows, -2);
}

/// A^p for a decomposed A. `p` (*) has its batch and precision.
Tensor power_of_eigenpairs(const Tensor& A, const Tensor& eigenvalues, const Tensor& eigenvectors, const Tensor& p) {
  const autograd::NoAutocast no_autocast;
  const auto constant_p = autograd::recorded_constant(p);
  const auto unit = ops::power_of_two_below(eigenvalues);
  const auto x = ops::eigenvalues_of_power("powm", eigenvalues, constant_p);
  // The derivative in p, x^p log(x), tends to 0 at 0. Eigenvalues that are 0 up to round-off add nothing to it.
  auto exponents = p.unsqueeze(-1).expand_symint(eigenvalues.sym_sizes());
  if (eigenvalues.sym_size(-1) != 0) {
    const auto is_zero = eigenvalues.abs() <= math::zero_threshold(eigenvalues);
    const auto vanishes = is_zero.logical_and(constant_p.unsqueeze(-1) > 0);
    exponents = at::where(vanishes, constant_p.unsqueeze(-1), exponents);
  }
  // Zero eigenvalues may round to negative ones.
  const auto is_integer = (constant_p == constant_p.floor()).unsqueeze(-1);
  const auto values_at = at::where(is_integer, eigenvalues, eigenvalues.clamp_min(0));
  const Eigenpairs pairs{A / unit.unsqueeze(-1), x / unit, eigenvectors};
  return ops::spectral_function({"powers", {}, jets_of_power(x, values_at, unit, exponents)}, pairs);
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

Tensor trace_sqrtm(const Tensor& A) {
  const auto root = apply("trace_sqrtm", A, Domain::nonnegative, {"sqrt", {}, {}});
  return at::real(root.diagonal(0, -2, -1)).sum(-1);
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

Tensor powm(const Tensor& A, const Tensor& p) {
  TORCH_CHECK_TYPE(
      p.defined() && !p.is_complex() && p.scalar_type() != at::kBool,
      "spectralgrad.powm: Expected p to be real, but ",
      p.defined() ? c10::str("got ", p.dtype()) : "it is undefined");
  const auto pairs = ops::eigenpairs("powm", A);
  const auto batch = A.sizes().slice(0, A.dim() - 2);
  const bool has_column = p.dim() == A.dim() - 1 && p.size(-1) == 1;
  const auto exponents = (has_column ? p.squeeze(-1) : p).to(pairs.eigenvalues.options());
  TORCH_CHECK_VALUE(
      at::are_expandable(batch, exponents.sizes()),
      "spectralgrad.powm: Expected p to broadcast with the batch of A, ",
      batch,
      ", but its shape is ",
      exponents.sizes());
  const auto shape = at::infer_size(batch, exponents.sizes());
  const auto expand = [&shape](const Tensor& x, int64_t dimensions) {
    auto sizes = shape;
    const auto own = x.sizes().slice(x.dim() - dimensions);
    sizes.insert(sizes.end(), own.begin(), own.end());
    return x.expand(sizes);
  };
  return power_of_eigenpairs(
      expand(pairs.A, 2),
      expand(pairs.eigenvalues, 1),
      expand(pairs.eigenvectors, 2),
      expand(exponents, 0));
}

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

namespace ops {

Tensor power_of_two_below(const Tensor& eigenvalues) {
  // A 0 is appended, because there may be no eigenvalue, and a compiler must not read their number.
  const auto sizes = at::constant_pad_nd(eigenvalues.abs(), {0, 1});
  const auto unit = sizes.amax({-1}, /*keepdim=*/true).log2().floor().exp2();
  return at::where((unit > 0).logical_and(unit.isfinite()), unit, at::ones_like(unit));
}

} // namespace ops

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("expm(Tensor A) -> Tensor");
  library.def("logm(Tensor A) -> Tensor");
  library.def("sqrtm(Tensor A) -> Tensor");
  library.def("invsqrtm(Tensor A) -> Tensor");
  library.def("powm(Tensor A, float p) -> Tensor");
  // Scripts call this one. Python's powm computes with symbolic shapes.
  library.def("powm.tensor(Tensor A, Tensor p) -> Tensor");
  library.def("trace_sqrtm(Tensor A) -> Tensor");
  library.def("power_of_eigenpairs(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor p) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("expm", expm);
  library.impl("logm", logm);
  library.impl("sqrtm", sqrtm);
  library.impl("invsqrtm", invsqrtm);
  library.impl("powm", static_cast<Tensor (*)(const Tensor&, double)>(powm));
  library.impl("powm.tensor", static_cast<Tensor (*)(const Tensor&, const Tensor&)>(powm));
  library.impl("trace_sqrtm", trace_sqrtm);
  library.impl("power_of_eigenpairs", power_of_eigenpairs);
}

} // namespace spectralgrad
