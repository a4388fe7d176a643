#include "ops/hermitian_decomposition.h"

#include "kernels/blas/syevd.h"
#include "kernels/eigh/batch_eigh.h"
#include "kernels/eigh/hermitian_matrix.h"
#include "kernels/eigh/lapack_eigh.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh/row_order.h"
#include "kernels/eigh/single_eigh.h"
#include "ops/arguments.h"
#include "ops/nan_results.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/_linalg_eigh.h>
#include <ATen/ops/conj_physical.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using kernels::EighMethod;
using kernels::simd::EighFindings;

/// A contiguous CPU batch `A` whose graded matrices are sorted as LAPACK needs them if it gets rows as columns.
class InOrder {
 public:
  InOrder(const Tensor& A, bool upper) : matrices(A), n_(A.size(-1)) {
    AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "eigh", [&] {
      std::vector<typename RealOf<scalar_t>::type> norms(static_cast<size_t>(n_));
      for (int64_t k = 0; k < A.numel() / (n_ * n_); ++k) {
        const kernels::HermitianMatrix<scalar_t> matrix{A.const_data_ptr<scalar_t>() + k * n_ * n_, n_, upper};
        matrix.row_norms(norms);
        kernels::RowOrder order(norms, /*to_upper=*/!upper);
        if (!order.sorts()) {
          continue;
        }
        if (orders_.empty()) {
          matrices = A.clone();
        }
        auto* to = matrices.mutable_data_ptr<scalar_t>() + k * n_ * n_;
        for (int64_t i = 0; i < n_; ++i) {
          for (int64_t j = upper ? i : 0; j < (upper ? n_ : i + 1); ++j) {
            to[i * n_ + j] = order.entry(matrix, i, j);
          }
        }
        orders_.emplace_back(k, std::move(order));
      }
    });
  }

  Tensor matrices;

  /// Puts the rows of the eigenvectors into the order of `A`.
  void restore(const Tensor& eigenvectors) const {
    const auto all = eigenvectors.view({-1, n_, n_});
    for (const auto& [k, order] : orders_) {
      all[k].index_copy_(0, at::tensor(order.rows()), all[k].clone());
    }
  }

 private:
  int64_t n_;
  std::vector<std::pair<int64_t, kernels::RowOrder>> orders_; // of matrix k
};

/// Decomposes with torch.linalg.eigh's kernel. `to_the_bit`: the results must be bitwise equal to torch.linalg.eigh's.
/// Otherwise a row-major A may be passed as its adjoint, which saves a transposition.
std::tuple<Tensor, Tensor> linalg_eigh(
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors,
    bool to_the_bit) {
  if (to_the_bit || !A.device().is_cpu() || !A.is_contiguous() ||
      !kernels::rows_as_columns(A.size(-1), A.scalar_type())) {
    return at::_linalg_eigh(A, UPLO, compute_eigenvectors);
  }
  const InOrder sorted(A, is_upper(UPLO));
  const auto adjoint = A.is_complex() ? at::conj_physical(sorted.matrices.mT()) : sorted.matrices.mT();
  auto results = at::_linalg_eigh(adjoint, is_upper(UPLO) ? "L" : "U", compute_eigenvectors);
  if (compute_eigenvectors) {
    sorted.restore(std::get<1>(results));
  }
  return results;
}

/// `linalg_eigh`, which gives wrong results for non-finite matrices, so that these are screened first.
std::tuple<Tensor, Tensor> eigh_by_torch(
    const char* function,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors,
    bool to_the_bit) {
  const auto decompose = [&](const Tensor& finite) {
    return linalg_eigh(finite, UPLO, compute_eigenvectors, to_the_bit);
  };
  if (checks() == Checks::ignore) {
    return nan_where_bad(A, is_not_finite(A, UPLO), decompose);
  }
  check_finite(function, A, UPLO);
  return decompose(A);
}

/// Whether `A` is a single CPU matrix, contiguous and diagonal.
bool is_diagonal(const Tensor& A) {
  const auto n = A.size(-1);
  if (!A.device().is_cpu() || A.numel() != n * n || !A.is_contiguous() || A.is_conj() || A.is_neg()) {
    return false;
  }
  return AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "eigh", [&] {
    const auto* data = A.const_data_ptr<scalar_t>();
    return kernels::HermitianMatrix<scalar_t>{data, n, /*upper=*/false}.is_diagonal() &&
        kernels::HermitianMatrix<scalar_t>{data, n, /*upper=*/true}.is_diagonal();
  });
}

EighMethod parse_method(const char* function, std::string_view name, const Tensor& A, bool compute_eigenvectors) {
  const bool can_choose = A.device().is_cpu() && A.numel() > 0;
  if (name == "lanes" && A.size(-1) <= kernels::simd::largest_n) {
    return can_choose ? EighMethod::lanes : EighMethod::torch;
  }
  if (name == "single" && compute_eigenvectors && !A.is_complex()) {
    return can_choose ? EighMethod::single : EighMethod::torch;
  }
  if (name == "lapack" && kernels::has_lapack()) {
    return can_choose ? EighMethod::lapack : EighMethod::torch;
  }
  TORCH_CHECK_VALUE(
      name == "torch",
      "spectralgrad.",
      function,
      ": Expected method to be 'lanes' (for n up to ",
      kernels::simd::largest_n,
      "), 'single' (for eigenvectors of real matrices), 'lapack' (where LibTorch brings it) or 'torch', "
      "but got '",
      name,
      "' for n = ",
      A.size(-1));
  return EighMethod::torch;
}

std::tuple<Tensor, Tensor, EighFindings> decompose_by(
    EighMethod method,
    const Tensor& A,
    bool upper,
    bool compute_eigenvectors) {
  switch (method) {
    case EighMethod::lanes:
      return kernels::batch_eigh(A, upper, compute_eigenvectors);
    case EighMethod::single:
      return kernels::single_eigh(A, upper);
    default:
      return kernels::lapack_eigh(A, upper, compute_eigenvectors);
  }
}

} // namespace

std::tuple<Tensor, Tensor> hermitian_decomposition(
    const char* function,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors,
    MethodName method) {
  const auto chosen = method ? parse_method(function, *method, A, compute_eigenvectors)
                             : kernels::eigh_method(kernels::batch_traits(A), compute_eigenvectors, is_diagonal(A));
  if (chosen == EighMethod::torch) {
    return eigh_by_torch(function, A, UPLO, compute_eigenvectors, /*to_the_bit=*/method.has_value());
  }
  auto [eigenvalues, eigenvectors, findings] = decompose_by(chosen, A, is_upper(UPLO), compute_eigenvectors);
  if (findings.not_finite != EighFindings::none && checks() != Checks::ignore) {
    check_finite(function, A, UPLO);
  }
  TORCH_CHECK_LINALG(
      findings.not_converged == EighFindings::none,
      "spectralgrad.",
      function,
      ": ",
      batch_element(A.dim() > 2, findings.not_converged),
      "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated "
      "eigenvalues.");
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
