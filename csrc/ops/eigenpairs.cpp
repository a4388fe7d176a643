#include "ops/eigenpairs.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "core/tolerances.h"
#include "math/divided_differences.h"
#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <array>
#include <limits>
#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Whether each matrix has an eigenvalue outside the domain: (*, 1). Eigenvalues ascend, so the smallest decides.
Tensor is_outside(const Tensor& eigenvalues, std::string_view domain) {
  if (domain == Domain::nonzero) {
    return (eigenvalues == 0).any(-1, /*keepdim=*/true);
  }
  const auto n = eigenvalues.size(-1);
  const auto smallest = eigenvalues.narrow(-1, 0, 1);
  if (domain == Domain::positive) {
    return smallest <= 0;
  }
  TORCH_CHECK_VALUE(domain == Domain::nonnegative, "spectralgrad: Expected a domain, but got ", domain);
  const auto largest = at::maximum(smallest.abs(), eigenvalues.narrow(-1, n - 1, 1).abs());
  return smallest < -tolerances::zero_eigenvalue(eigenvalues.scalar_type(), n) * largest;
}

[[noreturn]] void raise_outside(
    std::string_view function,
    const Tensor& outside,
    const Tensor& eigenvalues,
    std::string_view domain) {
  const auto n = eigenvalues.size(-1);
  const auto matrix = outside.reshape({-1}).nonzero()[0].item<int64_t>();
  const auto smallest = eigenvalues.reshape({-1, n})[matrix][0].item<double>();
  const auto expected = domain == Domain::nonzero
      ? "invertible, but it has the eigenvalue 0"
      : c10::str(
            domain == Domain::positive ? "positive definite" : "positive semidefinite",
            ", but its smallest eigenvalue is ",
            smallest);
  TORCH_CHECK_LINALG(
      false,
      "spectralgrad.",
      function,
      ": ",
      batch_element(eigenvalues.dim() > 1, matrix),
      "Expected A to be ",
      expected);
}

std::tuple<Tensor, Tensor> eigenpairs_kernel(const Tensor& A, std::string_view function, std::string_view domain) {
  const std::string name(function);
  check_hermitian_arguments(name.c_str(), A, "L");
  auto [eigenvalues, eigenvectors] = hermitian_decomposition(name.c_str(), A, "L", /*compute_eigenvectors=*/true);
  if (domain == Domain::all || eigenvalues.numel() == 0) {
    return {std::move(eigenvalues), std::move(eigenvectors)};
  }
  const auto outside = is_outside(eigenvalues, domain);
  if (outside.any().item<bool>()) {
    if (checks() != Checks::ignore) {
      raise_outside(function, outside, eigenvalues, domain);
    }
    eigenvalues.masked_fill_(outside, nan);
    eigenvectors.masked_fill_(outside.unsqueeze(-1), nan);
  }
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

Tensor eigenvalues_of_power_kernel(const Tensor& eigenvalues, const Tensor& p, std::string_view function) {
  const auto is_finite = p.isfinite();
  TORCH_CHECK_VALUE(
      is_finite.all().item<bool>(),
      "spectralgrad.",
      function,
      ": Expected p to be finite, but got ",
      p.masked_select(is_finite.logical_not())[0].item<double>());
  if (eigenvalues.numel() == 0) {
    return at::empty_like(eigenvalues, at::MemoryFormat::Contiguous);
  }
  const auto exponents = p.unsqueeze(-1);
  const auto is_integer = exponents == exponents.floor();
  const auto is_negative = exponents < 0;
  const auto domain_of_each = std::array{
      std::pair(Domain::nonzero, is_integer.logical_and(is_negative)),
      std::pair(Domain::positive, is_integer.logical_not().logical_and(is_negative)),
      std::pair(Domain::nonnegative, is_integer.logical_or(is_negative).logical_not())};
  const auto& is_root = domain_of_each[2].second;
  auto result = eigenvalues.contiguous().masked_fill(
      is_root.logical_and(eigenvalues <= math::zero_threshold(eigenvalues)),
      0);
  for (const auto& [domain, applies] : domain_of_each) {
    const auto outside = is_outside(eigenvalues, domain).logical_and(applies);
    if (outside.any().item<bool>()) {
      if (checks() != Checks::ignore) {
        raise_outside(function, outside, eigenvalues, domain);
      }
      result.masked_fill_(outside, nan);
    }
  }
  return result;
}

Tensor eigenvalues_of_power_meta(const Tensor& eigenvalues, const Tensor&, std::string_view) {
  return at::empty_like(eigenvalues, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigenvalues_of_power", eigenvalues_of_power_meta>
    eigenvalues_of_power_op;

std::tuple<Tensor, Tensor> eigenpairs_meta(const Tensor& A, std::string_view function, std::string_view) {
  check_hermitian_arguments(std::string(function).c_str(), A, "L");
  return hermitian_decomposition_meta(A);
}

constexpr autograd::OperatorHandle<"spectralgrad::eigenpairs", eigenpairs_meta> eigenpairs_op;

/// Returns the data of `like`, which has the shape and dtype of `A`. Its derivative with respect to `A` is the
/// identity.
class PlaceInGraph : public torch::autograd::Function<PlaceInGraph> {
 public:
  static constexpr bool is_traceable = true;

  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& /*A*/, const Tensor& like) {
    return autograd::below_autograd([&] { return like.detach(); });
  }

  static autograd::variable_list backward(
      torch::autograd::AutogradContext*,
      const autograd::variable_list& cotangents) {
    return {cotangents[0], Tensor()};
  }
};

} // namespace

Eigenpairs eigenpairs(const char* function, const Tensor& A, std::string_view domain) {
  auto [eigenvalues, eigenvectors] = eigenpairs_op.call(A, function, domain);
  return {A, std::move(eigenvalues), std::move(eigenvectors)};
}

Tensor eigenvalues_of_power(const char* function, const Tensor& eigenvalues, const Tensor& p) {
  return eigenvalues_of_power_op.call(eigenvalues, p, function);
}

Tensor place_in_graph(const Tensor& A, const Tensor& eigenvectors) {
  const bool ordinary = autograd::requires_grad({A}) && !autograd::transform_is_active() && !autograd::has_tangent(A);
  return ordinary ? PlaceInGraph::apply(A, eigenvectors) : A;
}

Tensor power_of_two_below(const Tensor& eigenvalues) {
  // A 0 is appended, because there may be no eigenvalue, and a compiler must not read their number.
  const auto sizes = at::constant_pad_nd(eigenvalues.abs(), {0, 1});
  const auto unit = sizes.amax({-1}, /*keepdim=*/true).log2().floor().exp2();
  return at::where((unit > 0).logical_and(unit.isfinite()), unit, at::ones_like(unit));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("eigenvalues_of_power(Tensor eigenvalues, Tensor p, str function) -> Tensor");
  library.def("eigenpairs(Tensor A, str function, str domain) -> (Tensor eigenvalues, Tensor eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("eigenpairs", eigenpairs_kernel);
  library.impl("eigenvalues_of_power", eigenvalues_of_power_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("eigenpairs", eigenpairs_meta);
  library.impl("eigenvalues_of_power", eigenvalues_of_power_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("eigenpairs", eigenpairs_op.constant_kernel());
  library.impl("eigenvalues_of_power", eigenvalues_of_power_op.constant_kernel());
}

} // namespace spectralgrad::ops
