#include "kernels/blas/multiply.h"

#include "kernels/blas/by_type.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>

namespace {

template <typename scalar_t>
using Gemm = void(
    const char* transa,
    const char* transb,
    const int* m,
    const int* n,
    const int* k,
    const scalar_t* alpha,
    const scalar_t* A,
    const int* lda,
    const scalar_t* B,
    const int* ldb,
    const scalar_t* beta,
    scalar_t* C,
    const int* ldc);

} // namespace

SPECTRALGRAD_BY_TYPE(blas_gemm, gemm, Gemm, gemm, Gemm);

namespace spectralgrad::kernels {
namespace {

using simd::Matrices;

template <typename scalar_t>
at::Tensor as_tensor(int64_t rows, int64_t columns, const Matrices<scalar_t>& x) {
  // The const_cast is safe, because the factors are only read.
  return at::from_blob(
      const_cast<scalar_t*>(x.data),
      {rows, columns},
      {x.down, x.right},
      at::TensorOptions(c10::CppTypeToScalarType<scalar_t>::value));
}

} // namespace

template <typename scalar_t>
void multiply(
    int64_t m,
    int64_t n,
    int64_t k,
    const Matrices<scalar_t>& A,
    const Matrices<scalar_t>& B,
    scalar_t* C,
    int64_t row_of_C,
    scalar_t alpha,
    scalar_t beta) {
  auto* const gemm = blas_gemm.of<scalar_t>();
  if (gemm == nullptr) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto result = as_tensor<scalar_t>(m, n, {C, row_of_C, 1});
    at::addmm_out(result, result, as_tensor(m, k, A), as_tensor(k, n, B), beta, alpha);
    return;
  }
  const auto operation = [](const Matrices<scalar_t>& x) {
    return x.right == 1 ? 'N' : 'T';
  };
  // BLAS asks for a stride of at least the length of a line, even if there is only one line.
  const auto leading = [](const Matrices<scalar_t>& x, int64_t x_rows, int64_t x_columns) {
    return static_cast<int>(x.right == 1 ? std::max(x.down, x_columns) : std::max(x.right, x_rows));
  };
  // C^T = B^T A^T.
  const char operation_A = operation(A);
  const char operation_B = operation(B);
  const int rows = static_cast<int>(n);
  const int columns = static_cast<int>(m);
  const int inner = static_cast<int>(k);
  const int ldb = leading(B, k, n);
  const int lda = leading(A, m, k);
  const int ldc = static_cast<int>(row_of_C);
  gemm(&operation_B, &operation_A, &rows, &columns, &inner, &alpha, B.data, &ldb, A.data, &lda, &beta, C, &ldc);
}

#define INSTANTIATE(scalar_t)    \
  template void multiply(        \
      int64_t,                   \
      int64_t,                   \
      int64_t,                   \
      const Matrices<scalar_t>&, \
      const Matrices<scalar_t>&, \
      scalar_t*,                 \
      int64_t,                   \
      scalar_t,                  \
      scalar_t)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(c10::complex<float>);
INSTANTIATE(c10::complex<double>);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
