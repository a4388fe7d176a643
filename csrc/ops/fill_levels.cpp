#include "ops/fill_levels.h"

#include "autograd/operator_handle.h"
#include "core/tolerances.h"
#include "ops/arguments.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

/// The range [first, last) of eigenvalues equal to the one at which the filling ends; empty if they are filled
/// completely.
struct Cut {
  int64_t first;
  int64_t last;
};

Cut find_cut(const double* eigenvalues, int64_t n, double filling, double same) {
  const auto last_filled = static_cast<int64_t>(std::ceil(filling)) - 1; // the last one that is not empty
  if (last_filled < 0 || last_filled >= n) {
    return {0, 0};
  }
  Cut cut{last_filled, last_filled + 1};
  while (cut.first > 0 && eigenvalues[cut.first] - eigenvalues[cut.first - 1] <= same) {
    --cut.first;
  }
  while (cut.last < n && eigenvalues[cut.last] - eigenvalues[cut.last - 1] <= same) {
    ++cut.last;
  }
  return filling == static_cast<double>(cut.last) ? Cut{0, 0} : cut;
}

[[noreturn]] void raise_cut(
    std::string_view function,
    std::string_view argument,
    double capacity,
    const Cut& cut,
    const double* eigenvalues,
    double filling,
    const std::string& where) {
  const auto multiplicity = cut.last - cut.first;
  const auto inside = filling - static_cast<double>(cut.first);
  TORCH_CHECK_LINALG(
      false,
      "spectralgrad.",
      function,
      ": ",
      where,
      "Expected ",
      argument,
      " to fill whole levels, but ",
      filling * capacity,
      function == "spectral_projector" ? " eigenvectors" : " electrons",
      " cut the level ",
      eigenvalues[cut.first],
      " of multiplicity ",
      multiplicity,
      ", which would hold ",
      inside * capacity,
      " of ",
      static_cast<double>(multiplicity) * capacity);
}

Tensor fill_levels_kernel(
    const Tensor& eigenvalues,
    const Tensor& filling,
    const OptionalTensor& amplification,
    std::string_view function,
    std::string_view argument,
    double capacity,
    bool share) {
  const auto n = eigenvalues.size(-1);
  TORCH_CHECK_VALUE(
      !filling.isnan().any().item<bool>(),
      "spectralgrad.",
      function,
      ": Expected ",
      argument,
      " to be finite, but got NaN or an infinity");
  const auto outside = (filling >= 0).logical_and(filling <= n).logical_not();
  TORCH_CHECK_VALUE(
      !outside.any().item<bool>(),
      "spectralgrad.",
      function,
      ": Expected ",
      argument,
      " to be between 0 and ",
      static_cast<double>(n) * capacity,
      ", but got ",
      filling.masked_select(outside)[0].item<double>() * capacity);
  auto occupations = (filling.unsqueeze(-1) - at::arange(n, eigenvalues.options())).clamp(0, 1);
  if (eigenvalues.numel() == 0) {
    return occupations;
  }
  const auto values = eigenvalues.to(at::kCPU, at::kDouble).contiguous();
  const auto fillings =
      filling.to(at::kCPU, at::kDouble).expand(eigenvalues.sizes().slice(0, eigenvalues.dim() - 1)).contiguous();
  const auto rounding = amplification ? amplification->to(at::kCPU, at::kDouble).expand(fillings.sizes()).contiguous()
                                      : at::ones_like(fillings);
  for (int64_t matrix = 0; matrix < fillings.numel(); ++matrix) {
    const auto* levels = values.const_data_ptr<double>() + matrix * n;
    const auto wanted = fillings.const_data_ptr<double>()[matrix];
    const auto largest = std::max(std::abs(levels[0]), std::abs(levels[n - 1]));
    const auto cut = find_cut(
        levels,
        n,
        wanted,
        tolerances::close_gap * tolerances::eps(eigenvalues.scalar_type()) * largest *
            rounding.const_data_ptr<double>()[matrix]);
    if (cut.last - cut.first > 1) {
      if (share) {
        const auto fraction = (wanted - static_cast<double>(cut.first)) / static_cast<double>(cut.last - cut.first);
        occupations.view({-1, n})[matrix].slice(0, cut.first, cut.last).fill_(fraction);
      } else if (checks() == Checks::ignore) {
        occupations.view({-1, n})[matrix].fill_(std::numeric_limits<double>::quiet_NaN());
      } else {
        raise_cut(function, argument, capacity, cut, levels, wanted, batch_element(eigenvalues.dim() > 1, matrix));
      }
    }
  }
  return occupations;
}

Tensor fill_levels_meta(
    const Tensor& eigenvalues,
    const Tensor&,
    const OptionalTensor&,
    std::string_view,
    std::string_view,
    double,
    bool) {
  return at::empty_like(eigenvalues, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::fill_levels", fill_levels_meta> fill_levels_op;

} // namespace

Tensor fill_levels(
    const Tensor& eigenvalues,
    const Tensor& filling,
    const Tensor& amplification,
    std::string_view function,
    std::string_view argument,
    double capacity,
    bool share) {
  return fill_levels_op.call(eigenvalues, filling, optional(amplification), function, argument, capacity, share);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "fill_levels(Tensor eigenvalues, Tensor filling, Tensor? amplification, str function, str argument, "
      "float capacity, bool share) -> Tensor occupations");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("fill_levels", fill_levels_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("fill_levels", fill_levels_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("fill_levels", fill_levels_op.constant_kernel());
}

} // namespace spectralgrad::ops
