#include "kernels/svd/lapack_svd.h"

#include "core/all_finite.h"
#include "core/interruptible.h"
#include "core/lowest_index.h"
#include "core/scalar_traits.h"
#include "kernels/blas/gesdd.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/blas/workspace.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Decomposes matrices of one size, one at a time. Each thread has its own solver, with its own workspace.
template <typename scalar_t>
class SvdSolver {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  explicit SvdSolver(const GesddProblem& problem) : problem_(problem), size_(int64_t{problem.m} * problem.n) {
    scalar_t size{};
    gesdd<scalar_t, real_t>(problem, nullptr, nullptr, nullptr, nullptr, &size, -1, nullptr, nullptr);
    // Rounded up, because a large size is not exact in single precision.
    work_size_ = static_cast<int>(
        std::nextafter(c10::complex<real_t>(size).real(), std::numeric_limits<real_t>::infinity()));
    const auto vectors = problem.has_vectors() ? 1 : 0;
    size_of_U_ = vectors * int64_t{problem.m} * problem.columns_of_U();
    size_of_Vh_ = vectors * int64_t{problem.n} * problem.rows_of_Vh();
    const auto matrix = memory_.place<scalar_t>(size_);
    const auto values = memory_.place<real_t>(problem.count());
    const auto U = memory_.place<scalar_t>(size_of_U_);
    const auto Vh = memory_.place<scalar_t>(size_of_Vh_);
    const auto work = memory_.place<scalar_t>(work_size_);
    const auto reals = memory_.place<real_t>(problem.reals(parts_of<scalar_t> == 2));
    const auto integers = memory_.place<int>(problem.integers());
    memory_.allocate();
    matrix_ = memory_.at<scalar_t>(matrix);
    values_ = memory_.at<real_t>(values);
    U_ = memory_.at<scalar_t>(U);
    Vh_ = memory_.at<scalar_t>(Vh);
    work_ = memory_.at<scalar_t>(work);
    reals_ = memory_.at<real_t>(reals);
    integers_ = memory_.at<int>(integers);
  }

  /// Decomposes a contiguous finite matrix. Returns whether LAPACK converged, to numbers that are not NaN.
  bool decompose(const scalar_t* A, bool by_rows) {
    load(A, by_rows);
    const auto info = gesdd(problem_, matrix_, values_, U_, Vh_, work_, work_size_, reals_, integers_);
    return info == 0 && std::none_of(values_, values_ + problem_.count(), [](real_t x) { return std::isnan(x); });
  }

  /// Writes the results, U and Vh column by column unless null.
  void write(real_t* values, scalar_t* U, scalar_t* Vh) const {
    std::copy_n(values_, problem_.count(), values);
    std::copy_n(U_, size_of_U_, U);
    std::copy_n(Vh_, size_of_Vh_, Vh);
  }

  /// Writes the results for the transpose of the matrix that was decomposed.
  void write_transposed(real_t* values, scalar_t* U, scalar_t* Vh) const {
    std::copy_n(values_, problem_.count(), values);
    if (problem_.has_vectors()) {
      transpose(Vh_, problem_.n, problem_.rows_of_Vh(), U);
      transpose(U_, problem_.columns_of_U(), problem_.m, Vh);
    }
  }

  void fill(real_t number, real_t* values, scalar_t* U, scalar_t* Vh) const {
    std::fill_n(values, problem_.count(), number);
    std::fill_n(U, size_of_U_, scalar_t(number));
    std::fill_n(Vh, size_of_Vh_, scalar_t(number));
  }

 private:
  /// Copies the matrix to `matrix_`, column by column.
  void load(const scalar_t* A, bool by_rows) {
    if (by_rows) {
      transpose(A, problem_.m, problem_.n, matrix_);
    } else {
      std::copy_n(A, size_, matrix_);
    }
  }

  /// Writes to `to` the columns of a matrix that consists of `rows` rows, one after the other.
  static void transpose(const scalar_t* from, int64_t rows, int64_t columns, scalar_t* to) {
    // In blocks, because the columns of a large matrix share a few cache sets.
    constexpr int64_t block = 16;
    for (int64_t first = 0; first < rows; first += block) {
      const auto last = std::min(rows, first + block);
      for (int64_t j = 0; j < columns; ++j) {
        for (auto i = first; i < last; ++i) {
          to[j * rows + i] = from[i * columns + j];
        }
      }
    }
  }

  GesddProblem problem_;
  int64_t size_; // of A, U and Vh, in entries
  int64_t size_of_U_ = 0;
  int64_t size_of_Vh_ = 0;
  int work_size_ = 0;
  Workspace memory_;
  scalar_t* matrix_ = nullptr;
  real_t* values_ = nullptr;
  scalar_t* U_ = nullptr;
  scalar_t* Vh_ = nullptr;
  scalar_t* work_ = nullptr;
  real_t* reals_ = nullptr;
  int* integers_ = nullptr;
};

} // namespace

Svd lapack_svd(const Tensor& A, bool compute_vectors, bool full_matrices) {
  const auto m = A.size(-2);
  const auto n = A.size(-1);
  const auto leading = A.sizes().slice(0, A.dim() - 2);
  const auto count = c10::multiply_integers(leading);
  const auto matrices = by_rows_or_columns(A);
  const bool by_rows = matrices.is_contiguous();
  const GesddProblem problem{
      !compute_vectors ? 'N' : (full_matrices ? 'A' : 'S'),
      static_cast<int>(m),
      static_cast<int>(n)};
  const auto empty = [&](std::initializer_list<int64_t> trailing, at::ScalarType dtype) {
    auto sizes = leading.vec();
    sizes.insert(sizes.end(), trailing);
    return at::empty(sizes, A.options().dtype(dtype));
  };
  const auto dtype = A.scalar_type();
  const auto values = empty({problem.count()}, c10::toRealValueType(dtype));
  const auto U_columns = compute_vectors ? empty({problem.columns_of_U(), m}, dtype) : Tensor();
  const auto Vh_columns = compute_vectors ? empty({n, problem.rows_of_Vh()}, dtype) : Tensor();
  LowestIndex not_finite;
  LowestIndex not_converged;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "lapack_svd", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const auto* from = matrices.const_data_ptr<scalar_t>();
    auto* to_values = values.mutable_data_ptr<real_t>();
    const auto matrix_of = [](const Tensor& x, int64_t matrix) {
      return x.defined() ? x.mutable_data_ptr<scalar_t>() + matrix * x.size(-1) * x.size(-2) : nullptr;
    };
    const auto least = std::min(m, n);
    interruptible_parallel_for(count, m * n * least, [&](int64_t begin, int64_t end) {
      const SequentialBlas sequential;
      SvdSolver<scalar_t> solver(problem);
      for (auto i = begin; i < end; ++i) {
        auto* value = to_values + i * least;
        auto* U = matrix_of(U_columns, i);
        auto* Vh = matrix_of(Vh_columns, i);
        const auto* matrix = from + i * m * n;
        if (!all_finite(matrix, m * n)) {
          solver.fill(std::numeric_limits<real_t>::quiet_NaN(), value, U, Vh);
          not_finite.found(i);
        } else if (solver.decompose(matrix, by_rows)) {
          solver.write(value, U, Vh);
        } else {
          // MKL fails for some matrices of low rank in single precision, but not for their transposes.
          SvdSolver<scalar_t> transposed({problem.job, problem.n, problem.m});
          if (!transposed.decompose(matrix, !by_rows)) {
            not_converged.found(i);
          }
          transposed.write_transposed(value, U, Vh);
        }
      }
    });
  });
  return {
      compute_vectors ? U_columns.mT() : Tensor(),
      values,
      compute_vectors ? Vh_columns.mT() : Tensor(),
      {not_finite.value(), not_converged.value()}};
}

} // namespace spectralgrad::kernels
