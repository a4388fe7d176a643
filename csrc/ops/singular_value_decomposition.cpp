#include "ops/singular_value_decomposition.h"

#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/svd/batch_svd.h"
#include "ops/arguments.h"
#include "ops/nan_results.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_linalg_svd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <c10/util/Exception.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using kernels::simd::EighFindings;

std::tuple<Tensor, Tensor, Tensor> by_torch(
    const char* function,
    const Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver) {
  const auto decompose = [&](const Tensor& finite) {
    return at::_linalg_svd(
        finite,
        vectors == SingularVectors::full,
        /*compute_uv=*/vectors != SingularVectors::none,
        driver);
  };
  if (checks() == Checks::ignore) {
    return nan_where_bad(A, at::isfinite(A).logical_not().any(-1).any(-1), decompose);
  }
  check_all_finite(function, A);
  return decompose(A);
}

/// Whether `A` is decomposed in lanes. Without a `method`, this is the faster one.
bool goes_to_lanes(
    const char* function,
    std::optional<std::string_view> method,
    const Tensor& A,
    SingularVectors vectors) {
  const auto m = A.size(-2);
  const auto n = A.size(-1);
  const bool is_possible = kernels::fits_svd_in_lanes(m, n) && (vectors != SingularVectors::full || m == n);
  if (!method) {
    auto traits = kernels::batch_traits(A);
    traits.n = std::min(m, n);
    return is_possible && kernels::svd_in_lanes_is_faster(traits, vectors != SingularVectors::none);
  }
  TORCH_CHECK_VALUE(
      *method == "torch" || (*method == "lanes" && is_possible),
      "spectralgrad.",
      function,
      ": Expected method to be 'lanes' (for min(m, n) up to ",
      kernels::simd::largest_svd_columns,
      ", max(m, n) up to ",
      kernels::simd::largest_svd_rows,
      ", and without full_matrices or for m = n) or 'torch', but got '",
      *method,
      "' for m = ",
      m,
      ", n = ",
      n);
  return *method == "lanes" && A.device().is_cpu() && A.numel() > 0;
}

} // namespace

std::tuple<Tensor, Tensor, Tensor> singular_value_decomposition(
    const char* function,
    const Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver,
    std::optional<std::string_view> method) {
  TORCH_CHECK(
      !driver || A.is_cuda(),
      "spectralgrad.",
      function,
      ": keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.");
  if (!goes_to_lanes(function, method, A, vectors)) {
    return by_torch(function, A, vectors, driver);
  }
  auto results = kernels::svd_in_lanes(A, vectors != SingularVectors::none);
  if (results.findings.not_finite != EighFindings::none && checks() != Checks::ignore) {
    check_all_finite(function, A);
  }
  TORCH_CHECK_LINALG(
      results.findings.not_converged == EighFindings::none,
      "spectralgrad.",
      function,
      ": ",
      batch_element(A.dim() > 2, results.findings.not_converged),
      "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated singular "
      "values.");
  return {std::move(results.U), std::move(results.singular_values), std::move(results.Vh)};
}

std::tuple<Tensor, Tensor, Tensor> singular_value_decomposition_meta(const Tensor& A, SingularVectors vectors) {
  const auto shape = A.sym_sizes();
  const auto batch = shape.slice(0, shape.size() - 2).vec();
  const auto m = shape[shape.size() - 2];
  const auto n = shape[shape.size() - 1];
  const auto k = m.min(n);
  const auto empty = [&](std::initializer_list<c10::SymInt> trailing, at::ScalarType dtype) {
    auto sizes = batch;
    sizes.insert(sizes.end(), trailing);
    return at::empty_symint(sizes, A.options().dtype(dtype));
  };
  auto singular_values = empty({k}, c10::toRealValueType(A.scalar_type()));
  if (vectors == SingularVectors::none) {
    return {Tensor(), std::move(singular_values), Tensor()};
  }
  const bool full = vectors == SingularVectors::full;
  const auto dtype = A.scalar_type();
  return {empty({full ? m : k, m}, dtype).mT(), std::move(singular_values), empty({n, full ? n : k}, dtype).mT()};
}

} // namespace spectralgrad::ops
