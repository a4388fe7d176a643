#include "ops/truncation_rank.h"

#include "autograd/operator_handle.h"
#include "math/truncation_rank.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cmath>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using Tolerance = std::optional<double>;

/// A tensor without dimensions, so that compilers and distributed tensors know what to do with it.
Tensor truncation_rank_kernel(
    const Tensor& singular_values,
    std::optional<int64_t> rank,
    Tolerance rtol,
    Tolerance atol,
    bool keep_multiplets,
    int64_t larger_side) {
  const auto rank_kept = math::truncation_rank(singular_values, {rank, rtol, atol, keep_multiplets}, larger_side);
  return at::full({}, rank_kept, singular_values.options().dtype(at::kLong));
}

Tensor truncation_rank_meta(
    const Tensor& singular_values,
    std::optional<c10::SymInt>, // NOLINT(performance-unnecessary-value-param): the dispatcher passes it by value
    Tolerance,
    Tolerance,
    bool,
    c10::SymInt) {
  return at::empty({}, singular_values.options().dtype(at::kLong));
}
constexpr autograd::OperatorHandle<"spectralgrad::truncation_rank", truncation_rank_meta> truncation_rank_op;

void check_tolerance(const char* function, const char* name, Tolerance tolerance) {
  TORCH_CHECK_VALUE(
      !tolerance || (std::isfinite(*tolerance) && *tolerance >= 0),
      "spectralgrad.",
      function,
      ": Expected ",
      name,
      " to be a number >= 0, but got ",
      tolerance.value_or(0));
}

} // namespace

void TruncationArguments::check(const char* function) const {
  TORCH_CHECK_VALUE(!rank || *rank >= 0, "spectralgrad.", function, ": Expected rank to be >= 0, but got ", *rank);
  check_tolerance(function, "rtol", rtol);
  check_tolerance(function, "atol", atol);
}

c10::SymInt TruncationArguments::number_kept(
    const char* function,
    const Tensor& singular_values,
    const c10::SymInt& larger_side) const {
  const auto k = singular_values.sym_size(-1);
  if (rank && !rtol && !atol && (!keep_multiplets || *rank >= k)) {
    return *rank < k ? *rank : k; // the symbolic minimum would become a constraint of exported programs
  }
  TORCH_CHECK_NOT_IMPLEMENTED(
      !singular_values.is_meta(),
      "spectralgrad.",
      function,
      ": Expected rank and keep_multiplets=False, and no tolerance, for a tensor on the meta device, because "
      "otherwise the number of singular values that are kept depends on their values");
  return truncation_rank_op.call(singular_values, rank, rtol, atol, keep_multiplets, larger_side).item<int64_t>();
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "truncation_rank(Tensor singular_values, SymInt? rank, float? rtol, float? atol, bool keep_multiplets, "
      "SymInt larger_side) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("truncation_rank", truncation_rank_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("truncation_rank", truncation_rank_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("truncation_rank", truncation_rank_op.constant_kernel());
}

} // namespace spectralgrad::ops
