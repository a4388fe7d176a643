#include "kernels/eigh/lapack_eigh.h"

#include "core/interruptible.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/eigh/diagonal_eigh.h"
#include "kernels/eigh/eigh_results.h"
#include "kernels/eigh/row_order.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

namespace {

template <typename real_t>
using Syevd = void(
    const char* jobz,
    const char* uplo,
    const int* n,
    real_t* A,
    const int* lda,
    real_t* w,
    real_t* work,
    const int* lwork,
    int* iwork,
    const int* liwork,
    int* info);

template <typename real_t>
using Heevd = void(
    const char* jobz,
    const char* uplo,
    const int* n,
    c10::complex<real_t>* A,
    const int* lda,
    real_t* w,
    c10::complex<real_t>* work,
    const int* lwork,
    real_t* rwork,
    const int* lrwork,
    int* iwork,
    const int* liwork,
    int* info);

} // namespace

// The LAPACK functions that LibTorch contains, declared here because LibTorch's headers have wrappers for real numbers
// only. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] Syevd<float> ssyevd_;
[[gnu::weak]] Syevd<double> dsyevd_;
[[gnu::weak]] Heevd<float> cheevd_;
[[gnu::weak]] Heevd<double> zheevd_;
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {
namespace {

using at::Tensor;
using simd::EighFindings;

/// Workspace sizes, in entries. With -1, LAPACK only returns the sizes that it needs.
struct Workspace {
  int work = -1;
  int real = -1;
  int integer = -1;
};

Syevd<float>* solver_of(float /*unused*/) {
  return ssyevd_;
}
Syevd<double>* solver_of(double /*unused*/) {
  return dsyevd_;
}
Heevd<float>* solver_of(c10::complex<float> /*unused*/) {
  return cheevd_;
}
Heevd<double>* solver_of(c10::complex<double> /*unused*/) {
  return zheevd_;
}

template <typename scalar_t, typename real_t>
int syevd(
    char job,
    char uplo,
    int n,
    scalar_t* A,
    real_t* w,
    scalar_t* work,
    real_t* reals,
    int* integers,
    const Workspace& size) {
  auto* const solve = solver_of(scalar_t());
  int info = 0;
  if constexpr (std::is_same_v<scalar_t, real_t>) {
    solve(&job, &uplo, &n, A, &n, w, work, &size.work, integers, &size.integer, &info);
  } else {
    solve(&job, &uplo, &n, A, &n, w, work, &size.work, reals, &size.real, integers, &size.integer, &info);
  }
  return info;
}

enum class Outcome { done, not_finite, not_converged };

/// Decomposes matrices of one size, one at a time. Each thread has its own solver, with its own workspace.
template <typename scalar_t>
class Solver {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  Solver(int64_t n, bool upper, bool vectors)
      : n_(static_cast<int>(n)), upper_(upper), job_(vectors ? 'V' : 'N'), order_(n) {
    scalar_t work{};
    real_t reals{};
    int integers = 0;
    syevd<scalar_t, real_t>(job_, 'L', n_, nullptr, nullptr, &work, &reals, &integers, size_);
    size_ = {static_cast<int>(c10::complex<real_t>(work).real()), static_cast<int>(reals), integers};
    // One allocation, in which every buffer has a fixed alignment, because LAPACK's round-off depends on the alignment.
    int64_t bytes = 0;
    const auto place = [&](int64_t count, size_t item_size) {
      constexpr int64_t alignment = 64;
      const auto at = bytes;
      bytes += (std::max<int64_t>(count, 1) * static_cast<int64_t>(item_size) + alignment - 1) / alignment * alignment;
      return at;
    };
    const auto matrix = place(n * n, sizeof(scalar_t));
    const auto eigenvalues = place(n, sizeof(real_t));
    const auto work_at = place(size_.work, sizeof(scalar_t));
    const auto reals_at = place(size_.real, sizeof(real_t));
    const auto integers_at = place(size_.integer, sizeof(int));
    memory_ = at::empty({bytes}, at::kByte);
    auto* begin = static_cast<char*>(memory_.mutable_data_ptr());
    matrix_ = reinterpret_cast<scalar_t*>(begin + matrix);
    eigenvalues_ = reinterpret_cast<real_t*>(begin + eigenvalues);
    work_ = reinterpret_cast<scalar_t*>(begin + work_at);
    reals_ = reinterpret_cast<real_t*>(begin + reals_at);
    integers_ = reinterpret_cast<int*>(begin + integers_at);
  }

  /// Decomposes the row-major matrix `A` (n, n). Writes the ascending `eigenvalues` (n) and, unless null, the
  /// `eigenvectors` (n, n), one in each row. If `A` contains a NaN or an Inf, the results are NaN. If LAPACK does not
  /// converge, they are undefined.
  Outcome solve(const scalar_t* A, real_t* eigenvalues, scalar_t* eigenvectors) {
    auto outcome = Outcome::done;
    const bool to_upper = upper_ != rows_as_columns(n_, c10::CppTypeToScalarType<scalar_t>::value);
    if (!load(A, to_upper)) {
      outcome = Outcome::not_finite;
      std::fill_n(eigenvalues_, n_, std::numeric_limits<real_t>::quiet_NaN());
      std::fill_n(matrix_, n_ * n_, scalar_t(std::numeric_limits<real_t>::quiet_NaN()));
    } else if (!solve_in_place(to_upper)) {
      // MKL fails for some matrices of low rank in single precision. The other triangle takes another code path in MKL.
      load(A, !to_upper);
      outcome = solve_in_place(!to_upper) ? Outcome::done : Outcome::not_converged;
    }
    std::copy_n(eigenvalues_, n_, eigenvalues);
    for (int64_t i = 0; is_sorted_ && eigenvectors != nullptr && i < n_; ++i) {
      order_.restore(matrix_ + i * n_, eigenvectors + i * n_);
    }
    if (eigenvectors != nullptr && !is_sorted_) {
      std::memcpy(eigenvectors, matrix_, sizeof(scalar_t) * n_ * n_);
    }
    return outcome;
  }

 private:
  /// Copies the triangle of `A` that `upper_` selects to the upper or the lower triangle of the column-major `matrix_`.
  /// Returns whether it is finite.
  bool load(const scalar_t* A, bool to_upper) {
    using Limits = std::numeric_limits<real_t>;
    real_t largest = 0;
    real_t zeros = 0; // becomes NaN if an entry is NaN or Inf
    std::fill_n(matrix_, n_ * n_, scalar_t(0));
    const auto add = [&](real_t x) {
      largest = std::max(largest, std::abs(x));
      zeros += x * 0;
    };
    for (int64_t i = 0; i < n_; ++i) {
      const auto end = upper_ ? n_ : i + 1;
      for (int64_t j = upper_ ? i : 0; j < end; ++j) {
        // MKL sometimes reads the imaginary part of the diagonal, so it is set to zero.
        const auto entry = i == j ? scalar_t(real_part(A[i * n_ + j])) : A[i * n_ + j];
        add(real_part(entry));
        add(imaginary_part(entry));
        if (to_upper == upper_) {
          matrix_[j * n_ + i] = entry;
        } else {
          matrix_[i * n_ + j] = conjugate(entry);
        }
      }
    }
    is_sorted_ = zeros == 0 && order_.find(A, upper_, to_upper);
    if (is_sorted_) {
      load_in_order(A, to_upper);
    }
    // MKL fails, or crashes, if the squares of some entries underflow beside those of others. So negligible entries
    // are set to zero.
    const auto least = std::max(largest * tolerances::negligible<real_t>, Limits::min());
    if (largest * Limits::epsilon() >= least) {
      const auto flush = [&](real_t x) {
        return std::abs(x) < least ? real_t(0) : x;
      };
      for (int64_t i = 0; i < static_cast<int64_t>(n_) * n_; ++i) {
        auto& entry = matrix_[i];
        if constexpr (std::is_same_v<scalar_t, real_t>) {
          entry = flush(entry);
        } else {
          entry = {flush(entry.real()), flush(entry.imag())};
        }
      }
    }
    return zeros == 0;
  }

  /// Copies the matrix to `matrix_` with its rows and columns in the order `order_`.
  void load_in_order(const scalar_t* A, bool to_upper) {
    for (int64_t i = 0; i < n_; ++i) {
      matrix_[i * n_ + i] = scalar_t(real_part(order_.entry(A, upper_, i, i)));
      for (int64_t j = 0; j < i; ++j) {
        const auto entry = order_.entry(A, upper_, i, j);
        matrix_[to_upper ? i * n_ + j : j * n_ + i] = to_upper ? conjugate(entry) : entry;
      }
    }
  }

  /// Decomposes `matrix_`. Returns whether LAPACK converged, to numbers that are not NaN.
  bool solve_in_place(bool upper) {
    const auto info = syevd(job_, upper ? 'U' : 'L', n_, matrix_, eigenvalues_, work_, reals_, integers_, size_);
    return info == 0 && std::none_of(eigenvalues_, eigenvalues_ + n_, [](real_t x) { return std::isnan(x); });
  }

  int n_;
  bool upper_;
  char job_;
  RowOrder<scalar_t> order_;
  bool is_sorted_ = false; // whether the rows of `matrix_` are in that order
  Workspace size_;
  Tensor memory_;
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

bool has_lapack() {
  return ssyevd_ != nullptr && dsyevd_ != nullptr && cheevd_ != nullptr && zheevd_ != nullptr;
}

std::tuple<Tensor, Tensor, EighFindings> lapack_eigh(const Tensor& A, bool upper, bool compute_eigenvectors) {
  EighResults results(A, compute_eigenvectors);
  const auto n = results.n;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "lapack_eigh", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const auto* from = results.matrices.template const_data_ptr<scalar_t>();
    auto* values = results.eigenvalues.template mutable_data_ptr<real_t>();
    auto* to = results.template eigenvectors_or_null<scalar_t>();
    interruptible_parallel_for(results.count, n * n * n, [&](int64_t begin, int64_t end) {
      const SequentialBlas sequential;
      std::optional<Solver<scalar_t>> solver;
      for (auto i = begin; i < end; ++i) {
        auto* vectors = to == nullptr ? nullptr : to + i * n * n;
        if (is_diagonal(from + i * n * n, n, upper)) {
          diagonal_eigh(from + i * n * n, n, values + i * n, vectors);
          continue;
        }
        if (!solver) {
          solver.emplace(n, upper, compute_eigenvectors);
        }
        switch (solver->solve(from + i * n * n, values + i * n, vectors)) {
          case Outcome::not_finite:
            results.not_finite.found(i);
            break;
          case Outcome::not_converged:
            results.not_converged.found(i);
            break;
          case Outcome::done:
            break;
        }
      }
    });
  });
  return results.finish();
}

} // namespace spectralgrad::kernels
