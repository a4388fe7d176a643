#include <spectralgrad/pinvm.h>

#include "autograd/operator_handle.h"
#include "core/report.h"
#include "core/tolerances.h"
#include "ops/check_rtol.h"
#include "ops/spectral_function.h"
#include "ops/spectral_trace.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <limits>
#include <string>

namespace spectralgrad {
namespace {

using at::Tensor;
using Tolerance = std::optional<double>;

/// Reports the first matrix whose cutoff separates eigenvalues that are equal up to round-off. `size` is |lambda| (*,
/// n).
void judge_cutoff(std::string_view function, double rtol, const Tensor& size, const Tensor& dropped) {
  if (checks() == Checks::ignore) {
    return;
  }
  const auto infinity = std::numeric_limits<double>::infinity();
  const auto smallest_kept = size.masked_fill(dropped, infinity).amin(-1);
  const auto largest_dropped = size.masked_fill(dropped.logical_not(), -infinity).amax(-1);
  const auto round_off = tolerances::same_eigenvalue * tolerances::eps(size.scalar_type()) * size.amax(-1);
  const auto cut = (smallest_kept - largest_dropped <= round_off).reshape({-1}).nonzero();
  if (cut.numel() == 0) {
    return;
  }
  const auto matrix = cut[0].item<int64_t>();
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          function,
          ": rtol=",
          rtol,
          " separates eigenvalues that are equal up to round-off, of sizes ",
          smallest_kept.reshape({-1})[matrix].item<double>(),
          " (kept) and ",
          largest_dropped.reshape({-1})[matrix].item<double>(),
          " (counted as 0), in matrix ",
          matrix,
          " of the batch. Round-off decides the rank there, and so the result. Expected an rtol that falls into a gap "
          "of the spectrum."));
}

Tensor drop_small_kernel(const Tensor& eigenvalues, Tolerance rtol, std::string_view function) {
  if (eigenvalues.numel() == 0) {
    return at::empty_like(eigenvalues, at::MemoryFormat::Contiguous);
  }
  const auto tolerance = rtol.value_or(tolerances::zero_eigenvalue(eigenvalues.scalar_type(), eigenvalues.size(-1)));
  const auto size = eigenvalues.abs();
  const auto dropped = size <= tolerance * size.amax({-1}, /*keepdim=*/true);
  judge_cutoff(function, tolerance, size, dropped);
  return eigenvalues.masked_fill(dropped, 0);
}

Tensor drop_small_meta(const Tensor& eigenvalues, Tolerance, std::string_view) {
  return at::empty_like(eigenvalues, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::drop_small_eigenvalues", drop_small_meta> drop_small_op;

/// Decomposes A, and sets eigenvalues that count as 0 to exactly 0.
ops::Eigenpairs on_the_range(const char* function, const Tensor& A, Tolerance rtol) {
  ops::check_rtol(function, rtol);
  auto pairs = ops::eigenpairs(function, A);
  pairs.eigenvalues = drop_small_op.call(pairs.eigenvalues, rtol, function);
  return pairs;
}

} // namespace

Tensor pinvm(const Tensor& A, Tolerance rtol) {
  return ops::spectral_function({"pinv", {}, {}}, on_the_range("pinvm", A, rtol));
}

Tensor pseudo_logdet(const Tensor& A, Tolerance rtol) {
  auto pairs = on_the_range("pseudo_logdet", A, rtol);
  // Derivatives are computed in units of about max|lambda|, because large powers of 1/lambda would overflow.
  const auto unit = ops::power_of_two_below(pairs.eigenvalues);
  pairs.A = A / unit.unsqueeze(-1);
  const auto x = pairs.eigenvalues / unit;
  const auto dropped = x == 0;
  const auto kept = at::where(dropped, at::ones_like(x), x);
  const auto inverse = kept.reciprocal();
  std::vector<Tensor> rows{(kept * unit).abs().log()};
  auto power = inverse;
  for (int64_t k = 1; k <= tolerances::jet_order; ++k) {
    rows.push_back(power);
    power = power * inverse * -static_cast<double>(k);
  }
  for (auto& row : rows) {
    row = at::where(dropped, at::zeros_like(row), row);
  }
  pairs.eigenvalues = x;
  return ops::spectral_trace(pairs, at::stack(rows, -2));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("drop_small_eigenvalues(Tensor eigenvalues, float? rtol, str function) -> Tensor");
  library.def("pinvm(Tensor A, float? rtol=None) -> Tensor");
  library.def("pseudo_logdet(Tensor A, float? rtol=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("drop_small_eigenvalues", drop_small_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("drop_small_eigenvalues", drop_small_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("drop_small_eigenvalues", drop_small_op.constant_kernel());
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("pinvm", pinvm);
  library.impl("pseudo_logdet", pseudo_logdet);
}

} // namespace spectralgrad
