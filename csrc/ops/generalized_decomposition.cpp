#include "ops/generalized_decomposition.h"

#include "kernels/generalized_eigh/reduction.h"
#include "math/hermitian_part.h"
#include "ops/arguments.h"
#include "ops/hermitian_decomposition.h"
#include "ops/orthonormal_basis.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

/// Raises `c10::LinAlgError` in the words of torch.linalg.cholesky.
[[noreturn]] void raise_not_positive_definite(const char* function, bool is_batch, int64_t matrix, int64_t minor) {
  TORCH_CHECK_LINALG(
      false,
      "spectralgrad.",
      function,
      ": ",
      batch_element(is_batch, matrix),
      "The factorization could not be completed because the input B is not positive-definite (the leading minor of "
      "order ",
      minor,
      " is not positive-definite).");
  __builtin_unreachable();
}

/// Returns A with both triangles, from the one that is read.
Tensor completed(const Tensor& A, std::string_view UPLO) {
  const auto lower = is_upper(UPLO) ? A.triu().mH() : A.tril();
  auto result = lower + lower.tril(-1).mH();
  if (A.is_complex()) {
    const auto diagonal = result.diagonal(0, -2, -1);
    diagonal.copy_(at::real(diagonal).clone());
  }
  return result;
}

/// For any device.
std::tuple<Tensor, Tensor> by_tensor_code(
    const char* function,
    Tensor A,
    Tensor B,
    std::string_view UPLO,
    int64_t itype) {
  const bool ignores = checks() == Checks::ignore;
  if (!ignores) {
    check_finite(function, A, UPLO);
    check_finite(function, B, UPLO, "B");
  }
  A = completed(A, UPLO);
  B = completed(B, UPLO);
  auto [factor, info] = at::linalg_cholesky_ex(B);
  Tensor bad;
  if (ignores) {
    bad = is_not_finite(A, "L").logical_or(is_not_finite(B, "L")).logical_or(info != 0).unsqueeze(-1);
    A = A.masked_fill(bad.unsqueeze(-1), 0);
    factor = at::where(bad.unsqueeze(-1), at::eye(A.size(-1), A.options()), factor);
  } else if (info.any().item<bool>()) {
    const auto all = info.reshape({-1});
    const auto matrix = all.nonzero()[0].item<int64_t>();
    raise_not_positive_definite(function, A.dim() > 2, matrix, all[matrix].item<int64_t>());
  }
  const auto basis = OrthonormalBasis::of_factor(factor);
  const auto reduced = itype == 1 ? basis.reduce(A)
                                  : math::hermitian_part(at::matmul(factor.mH(), at::matmul(A, factor)));
  auto [eigenvalues, vectors] = hermitian_decomposition(function, reduced, "L", /*compute_eigenvectors=*/true);
  auto eigenvectors = itype == 3 ? at::matmul(factor, vectors) : basis.restore_vectors(vectors);
  if (bad.defined()) {
    constexpr auto nan = std::numeric_limits<double>::quiet_NaN();
    eigenvalues.masked_fill_(bad, nan);
    eigenvectors.masked_fill_(bad.unsqueeze(-1), nan);
  }
  return {std::move(eigenvalues), eigenvectors.mT().contiguous().mT()};
}

std::tuple<Tensor, Tensor> by_kernels(
    const char* function,
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype) {
  const auto problem = kernels::reduce_problem(A, B, is_upper(UPLO), itype);
  if (checks() != Checks::ignore) {
    const auto* minors = problem.minors.const_data_ptr<int32_t>();
    const auto* end = minors + problem.minors.numel();
    const auto* bad = std::find_if(minors, end, [](int32_t minor) { return minor != 0; });
    if (bad != end) {
      check_finite(function, A, UPLO);
      check_finite(function, B, UPLO, "B");
      raise_not_positive_definite(function, A.dim() > 2, bad - minors, *bad);
    }
  }
  auto [eigenvalues, vectors] = hermitian_decomposition(function, problem.matrix, "L", /*compute_eigenvectors=*/true);
  return {std::move(eigenvalues), kernels::restore_eigenvectors(problem.factor, vectors, itype)};
}

} // namespace

std::tuple<Tensor, Tensor> generalized_decomposition(
    const char* function,
    const Tensor& A,
    const Tensor& B,
    std::string_view UPLO,
    int64_t itype) {
  return kernels::supports_reduction(A) ? by_kernels(function, A, B, UPLO, itype)
                                        : by_tensor_code(function, A, B, UPLO, itype);
}

Tensor real_diagonal(const Tensor& B) {
  const auto diagonal = B.diagonal(0, -2, -1);
  return (B.is_complex() ? at::real(diagonal) : diagonal).clone(at::MemoryFormat::Contiguous);
}

} // namespace spectralgrad::ops
