#include "ops/hermitian_decomposition.h"

#include "kernels/lapack_eigh.h"
#include "ops/arguments.h"

#include <spectralgrad/checks.h>

#include <ATen/ops/_linalg_eigh.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <limits>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::tuple<Tensor, Tensor> decompose(
    const char* function,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  return kernels::use_lapack_eigh(A) ? kernels::lapack_eigh(function, A, UPLO, compute_eigenvectors)
                                     : at::_linalg_eigh(A, UPLO, compute_eigenvectors);
}

} // namespace

std::tuple<Tensor, Tensor> hermitian_decomposition(
    const char* function,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  if (checks() != Checks::ignore) {
    check_finite(function, A, UPLO);
    return decompose(function, A, UPLO, compute_eigenvectors);
  }
  const auto bad = is_not_finite(A, UPLO);
  if (!bad.any().item<bool>()) {
    return decompose(function, A, UPLO, compute_eigenvectors);
  }
  auto [eigenvalues, eigenvectors] =
      decompose(function, A.masked_fill(bad.unsqueeze(-1).unsqueeze(-1), 0), UPLO, compute_eigenvectors);
  eigenvalues.masked_fill_(bad.unsqueeze(-1), nan);
  if (compute_eigenvectors) {
    eigenvectors.masked_fill_(bad.unsqueeze(-1).unsqueeze(-1), nan);
  }
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

std::tuple<Tensor, Tensor> hermitian_decomposition_meta(const Tensor& A) {
  const auto shape = A.sym_sizes();
  const auto real = A.options().dtype(c10::toRealValueType(A.scalar_type()));
  auto eigenvalues = at::empty_symint(shape.slice(0, shape.size() - 1), real);
  auto eigenvectors = at::empty_symint(shape, A.options()).mT();
  return {std::move(eigenvalues), std::move(eigenvectors)};
}

} // namespace spectralgrad::ops
