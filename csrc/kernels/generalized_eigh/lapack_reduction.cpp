#include "kernels/generalized_eigh/lapack_reduction.h"

#include "core/interruptible.h"
#include "core/scalar_traits.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/blas/sygst.h"
#include "kernels/eigh/hermitian_matrix.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Calls f(i) for each matrix of a batch: on one thread each, or with all threads for a single matrix.
template <typename F>
void for_each_matrix(int64_t count, int64_t n, const F& f) {
  if (count == 1) {
    f(0);
    return;
  }
  interruptible_parallel_for(count, n * n * n, [&](int64_t begin, int64_t end) {
    const SequentialBlas sequential;
    for (auto i = begin; i < end; ++i) {
      f(i);
    }
  });
}

/// Writes a Hermitian matrix to the upper triangle of a column-major one: entry (j, i), j <= i, to `to[i * n + j]`.
template <typename scalar_t>
void load_upper(const HermitianMatrix<scalar_t>& from, scalar_t* to) {
  const auto n = from.n;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      to[i * n + j] = from.upper ? from.data[j * n + i] : conjugate(from.data[i * n + j]);
    }
    to[i * n + i] = scalar_t(from.diagonal(i));
  }
}

} // namespace

void lapack_reduce(const Tensor& A, const Tensor& B, bool upper, int64_t itype, const ReducedProblem& result) {
  const auto n = A.size(-1);
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "generalized_eigh", [&] {
    constexpr auto nan = std::numeric_limits<typename RealOf<scalar_t>::type>::quiet_NaN();
    const auto* of_A = A.const_data_ptr<scalar_t>();
    const auto* of_B = B.const_data_ptr<scalar_t>();
    auto* matrices = result.matrix.mutable_data_ptr<scalar_t>();
    auto* factors = result.factor.mutable_data_ptr<scalar_t>();
    auto* minors = result.minors.mutable_data_ptr<int32_t>();
    for_each_matrix(result.minors.numel(), n, [&](int64_t i) {
      const HermitianMatrix<scalar_t> a{of_A + i * n * n, n, upper};
      const HermitianMatrix<scalar_t> b{of_B + i * n * n, n, upper};
      auto* C = matrices + i * n * n;
      auto* U = factors + i * n * n;
      const bool finite = a.first_not_finite() < 0 && b.first_not_finite() < 0;
      minors[i] = -1;
      if (finite) {
        load_upper(a, C);
        load_upper(b, U);
        minors[i] = potrf(static_cast<int>(n), U);
      }
      if (minors[i] != 0) {
        std::fill_n(C, n * n, scalar_t(nan));
        std::fill_n(U, n * n, scalar_t(nan));
        return;
      }
      sygst(static_cast<int>(itype), static_cast<int>(n), C, U);
      // The upper triangle of a column-major matrix is the conjugate of the lower one of a row-major matrix.
      if constexpr (parts_of<scalar_t> == 2) {
        for (int64_t row = 0; row < n; ++row) {
          std::transform(C + row * n, C + row * n + row, C + row * n, [](auto x) { return conjugate(x); });
        }
      }
    });
  });
}

Tensor lapack_restore(const Tensor& factor, const Tensor& Y, int64_t itype) {
  const auto n = factor.size(-1);
  // Column-major: the eigenvectors are the rows of a contiguous tensor. This is a copy unless Y is column-major.
  auto rows = Y.mT().resolve_conj().contiguous();
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(factor.scalar_type(), "generalized_eigh", [&] {
    const auto* factors = factor.const_data_ptr<scalar_t>();
    auto* vectors = rows.mutable_data_ptr<scalar_t>();
    for_each_matrix(factor.numel() / (n * n), n, [&](int64_t i) {
      auto* const V = vectors + i * n * n;
      if (itype == 3) {
        multiply_by_adjoint(static_cast<int>(n), factors + i * n * n, V);
      } else {
        solve_upper(static_cast<int>(n), factors + i * n * n, V);
      }
    });
  });
  return rows.mT();
}

} // namespace spectralgrad::kernels
