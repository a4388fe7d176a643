#include "kernels/eigh/lapack_eigh.h"

#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "kernels/blas/syevd.h"
#include "kernels/blas/workspace.h"
#include "kernels/eigh/one_by_one.h"
#include "kernels/eigh/row_order.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;
using simd::EighFindings;

/// Decomposes matrices of one size, one at a time. Each thread has its own solver, with its own workspace.
template <typename scalar_t>
class LapackSolver {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  LapackSolver(int64_t n, bool vectors) : n_(n), job_(vectors ? 'V' : 'N'), norms_(static_cast<size_t>(n)) {
    scalar_t work{};
    real_t reals{};
    int integers = 0;
    syevd<scalar_t, real_t>(job_, 'L', static_cast<int>(n), nullptr, nullptr, &work, &reals, &integers, size_);
    size_ = {static_cast<int>(c10::complex<real_t>(work).real()), static_cast<int>(reals), integers};
    const auto matrix = memory_.place<scalar_t>(n * n);
    const auto eigenvalues = memory_.place<real_t>(n);
    const auto work_at = memory_.place<scalar_t>(size_.work);
    const auto reals_at = memory_.place<real_t>(size_.real);
    const auto integers_at = memory_.place<int>(size_.integer);
    memory_.allocate();
    matrix_ = memory_.at<scalar_t>(matrix);
    eigenvalues_ = memory_.at<real_t>(eigenvalues);
    work_ = memory_.at<scalar_t>(work_at);
    reals_ = memory_.at<real_t>(reals_at);
    integers_ = memory_.at<int>(integers_at);
  }

  /// Writes the ascending `eigenvalues` (n) and, unless null, the `eigenvectors` (n, n), one in each row.
  Outcome solve(const HermitianMatrix<scalar_t>& A, real_t* eigenvalues, scalar_t* eigenvectors) {
    if (A.first_not_finite() >= 0) {
      return Outcome::not_finite;
    }
    A.row_norms(norms_);
    bool to_upper = A.upper != rows_as_columns(n_, c10::CppTypeToScalarType<scalar_t>::value);
    RowOrder order(norms_, to_upper);
    load(A, order, to_upper);
    bool converged = solve_in_place(to_upper);
    if (!converged) {
      // MKL fails for some matrices of low rank in single precision. The other triangle takes another code path in MKL.
      to_upper = !to_upper;
      order = RowOrder(norms_, to_upper);
      load(A, order, to_upper);
      converged = solve_in_place(to_upper);
    }
    std::copy_n(eigenvalues_, n_, eigenvalues);
    for (int64_t i = 0; order.sorts() && eigenvectors != nullptr && i < n_; ++i) {
      order.restore(matrix_ + i * n_, eigenvectors + i * n_);
    }
    if (eigenvectors != nullptr && !order.sorts()) {
      std::memcpy(eigenvectors, matrix_, sizeof(scalar_t) * n_ * n_);
    }
    return converged ? Outcome::decomposed : Outcome::not_converged;
  }

 private:
  /// Copies `A`, in this order if it sorts, to the upper or the lower triangle of the column-major `matrix_`.
  void load(const HermitianMatrix<scalar_t>& A, const RowOrder& order, bool to_upper) {
    std::fill_n(matrix_, n_ * n_, scalar_t(0));
    for (int64_t i = 0; i < n_; ++i) {
      // MKL sometimes reads the imaginary part of the diagonal, so it is set to zero.
      matrix_[i * n_ + i] = scalar_t(A.diagonal(order.sorts() ? order[i] : i));
      for (int64_t j = 0; order.sorts() && j < i; ++j) {
        const auto entry = order.entry(A, i, j);
        matrix_[to_upper ? i * n_ + j : j * n_ + i] = to_upper ? conjugate(entry) : entry;
      }
      for (auto j = A.begin(i); !order.sorts() && j < A.end(i); ++j) {
        const auto entry = A.data[i * n_ + j];
        matrix_[to_upper == A.upper ? j * n_ + i : i * n_ + j] = to_upper == A.upper ? entry : conjugate(entry);
      }
    }
    // MKL fails, or crashes, if the squares of some entries underflow beside those of others. So negligible entries
    // are set to zero.
    using Limits = std::numeric_limits<real_t>;
    const auto largest = *std::max_element(norms_.begin(), norms_.end());
    const auto least = std::max(largest * tolerances::negligible<real_t>, Limits::min());
    if (largest * Limits::epsilon() >= least) {
      auto* parts = reinterpret_cast<real_t*>(matrix_);
      for (int64_t i = 0; i < n_ * n_ * parts_of<scalar_t>; ++i) {
        parts[i] = std::abs(parts[i]) < least ? real_t(0) : parts[i];
      }
    }
  }

  /// Decomposes `matrix_`. Returns whether LAPACK converged, to numbers that are not NaN.
  bool solve_in_place(bool upper) {
    const auto info =
        syevd(job_, upper ? 'U' : 'L', static_cast<int>(n_), matrix_, eigenvalues_, work_, reals_, integers_, size_);
    return info == 0 && std::none_of(eigenvalues_, eigenvalues_ + n_, [](real_t x) { return std::isnan(x); });
  }

  int64_t n_;
  char job_;
  std::vector<real_t> norms_; // of the rows
  SyevdSizes size_;
  Workspace memory_;
  scalar_t* matrix_ = nullptr;
  real_t* eigenvalues_ = nullptr;
  scalar_t* work_ = nullptr;
  real_t* reals_ = nullptr;
  int* integers_ = nullptr;
};

} // namespace

bool rows_as_columns(int64_t n, at::ScalarType dtype) {
  // From these n on, passing rows as columns is faster with MKL. Measurements are in docs/measurements.md.
  return n >= (dtype == at::kFloat ? 256 : 64);
}

std::tuple<Tensor, Tensor, EighFindings> lapack_eigh(const Tensor& A, bool upper, bool compute_eigenvectors) {
  EighResults results(A, compute_eigenvectors);
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "lapack_eigh", [&] {
    decompose_one_by_one<LapackSolver<scalar_t>, scalar_t>(results, upper);
  });
  return results.finish();
}

} // namespace spectralgrad::kernels
