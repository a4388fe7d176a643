#include "ops/general_decomposition.h"

#include "core/lowest_index.h"
#include "kernels/blas/geev.h"
#include "kernels/eig/lapack_eig.h"
#include "ops/arguments.h"
#include "ops/nan_results.h"

#include <spectralgrad/checks.h>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_linalg_eigvals.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eig.h>
#include <c10/util/Exception.h>

#include <limits>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> eig_by_torch(const char* function, const Tensor& A, bool compute_eigenvectors) {
  const auto decompose = [&](const Tensor& finite) -> std::tuple<Tensor, Tensor> {
    if (!compute_eigenvectors) {
      return {at::_linalg_eigvals(finite), Tensor()};
    }
    return at::linalg_eig(finite);
  };
  if (checks() == Checks::ignore) {
    return nan_where_bad(A, at::isfinite(A).logical_not().any(-1).any(-1), [&](const Tensor& finite) {
      auto results = decompose(finite);
      if (!compute_eigenvectors) {
        std::get<1>(results) = at::empty({0}, A.options());
      }
      return results;
    });
  }
  check_all_finite(function, A);
  return decompose(A);
}

/// Whether LAPACK decomposes the matrices, one on each thread.
bool by_lapack(const char* function, std::optional<std::string_view> method, const Tensor& A) {
  TORCH_CHECK_VALUE(
      !method || *method == "torch" || (*method == "lapack" && kernels::has_geev()),
      "spectralgrad.",
      function,
      ": Expected method to be 'lapack' (where LibTorch brings it) or 'torch', but got '",
      *method,
      "'");
  return (!method || *method == "lapack") && kernels::has_geev() && A.device().is_cpu() && A.numel() > 0;
}

} // namespace

std::tuple<Tensor, Tensor> general_decomposition(
    const char* function,
    const Tensor& A,
    bool compute_eigenvectors,
    std::optional<std::string_view> method) {
  if (!by_lapack(function, method, A)) {
    return eig_by_torch(function, A, compute_eigenvectors);
  }
  auto results = kernels::lapack_eig(A, compute_eigenvectors, at::globalContext().deterministicAlgorithms());
  constexpr auto none = std::numeric_limits<int64_t>::max();
  if (results.not_finite != none && checks() != Checks::ignore) {
    check_all_finite(function, A);
  }
  TORCH_CHECK_LINALG(
      results.not_converged == none,
      "spectralgrad.",
      function,
      ": ",
      batch_element(A.dim() > 2, results.not_converged),
      "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated "
      "eigenvalues.");
  return {std::move(results.eigenvalues), std::move(results.eigenvectors)};
}

std::tuple<Tensor, Tensor> general_decomposition_meta(const Tensor& A) {
  const auto options = A.options().dtype(c10::toComplexType(A.scalar_type()));
  const auto shape = A.sym_sizes();
  return {at::empty_symint(shape.slice(0, shape.size() - 1), options), at::empty_symint(shape, options).mT()};
}

} // namespace spectralgrad::ops
