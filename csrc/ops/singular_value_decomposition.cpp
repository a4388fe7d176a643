#include "ops/singular_value_decomposition.h"

#include "kernels/blas/gesdd.h"
#include "kernels/eigh/batch_traits.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/svd/batch_svd.h"
#include "kernels/svd/lapack_svd.h"
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
using kernels::SvdMethod;
using kernels::simd::EighFindings;

std::tuple<Tensor, Tensor, Tensor> svd_by_torch(
    const char* function,
    const Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver) {
  const bool compute_vectors = vectors != SingularVectors::none;
  const bool full = vectors == SingularVectors::full;
  const auto decompose = [&](const Tensor& finite) -> std::tuple<Tensor, Tensor, Tensor> {
    try {
      return at::_linalg_svd(finite, full, compute_vectors, driver);
    } catch (const c10::LinAlgError&) {
      // MKL fails for some matrices of low rank. `lapack_svd` then tries their transposes.
      if (!finite.device().is_cpu() || !kernels::has_gesdd()) {
        throw;
      }
      auto results = kernels::lapack_svd(finite, compute_vectors, full);
      if (results.findings.not_converged != EighFindings::none) {
        throw;
      }
      return {std::move(results.U), std::move(results.singular_values), std::move(results.Vh)};
    }
  };
  if (checks() == Checks::ignore) {
    return nan_where_bad(A, at::isfinite(A).logical_not().any(-1).any(-1), decompose);
  }
  check_all_finite(function, A);
  return decompose(A);
}

SvdMethod choose_method(
    const char* function,
    std::optional<std::string_view> method,
    const Tensor& A,
    SingularVectors vectors) {
  const auto m = A.size(-2);
  const auto n = A.size(-1);
  const bool fits_lanes = kernels::fits_svd_in_lanes(m, n) && (vectors != SingularVectors::full || m == n);
  if (!method) {
    auto traits = kernels::batch_traits(A);
    traits.n = std::min(m, n);
    return kernels::svd_method(
        traits,
        {std::max(m, n), vectors != SingularVectors::none, fits_lanes, kernels::has_gesdd()});
  }
  const bool can_choose = A.device().is_cpu() && A.numel() > 0;
  if (*method == "lanes" && fits_lanes) {
    return can_choose ? SvdMethod::lanes : SvdMethod::torch;
  }
  if (*method == "lapack" && kernels::has_gesdd()) {
    return can_choose ? SvdMethod::lapack : SvdMethod::torch;
  }
  TORCH_CHECK_VALUE(
      *method == "torch",
      "spectralgrad.",
      function,
      ": Expected method to be 'lanes' (for min(m, n) up to ",
      kernels::simd::largest_svd_columns,
      ", max(m, n) up to ",
      kernels::simd::largest_svd_rows,
      ", and without full_matrices or for m = n), 'lapack' (where LibTorch brings it) or 'torch', but got '",
      *method,
      "' for m = ",
      m,
      ", n = ",
      n);
  return SvdMethod::torch;
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
  const auto chosen = choose_method(function, method, A, vectors);
  if (chosen == SvdMethod::torch) {
    return svd_by_torch(function, A, vectors, driver);
  }
  const bool compute_vectors = vectors != SingularVectors::none;
  auto results = chosen == SvdMethod::lanes ? kernels::svd_in_lanes(A, compute_vectors)
                                            : kernels::lapack_svd(A, compute_vectors, vectors == SingularVectors::full);
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
  const auto& m = shape[shape.size() - 2];
  const auto& n = shape[shape.size() - 1];
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
