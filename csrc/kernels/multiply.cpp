#include "kernels/multiply.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

// BLAS as LibTorch carries it. Weak, since another build of LibTorch may do without.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] void sgemm_(
    const char*,
    const char*,
    const int*,
    const int*,
    const int*,
    const float*,
    const float*,
    const int*,
    const float*,
    const int*,
    const float*,
    float*,
    const int*);
[[gnu::weak]] void dgemm_(
    const char*,
    const char*,
    const int*,
    const int*,
    const int*,
    const double*,
    const double*,
    const int*,
    const double*,
    const int*,
    const double*,
    double*,
    const int*);
[[gnu::weak]] void cgemm_(
    const char*,
    const char*,
    const int*,
    const int*,
    const int*,
    const c10::complex<float>*,
    const c10::complex<float>*,
    const int*,
    const c10::complex<float>*,
    const int*,
    const c10::complex<float>*,
    c10::complex<float>*,
    const int*);
[[gnu::weak]] void zgemm_(
    const char*,
    const char*,
    const int*,
    const int*,
    const int*,
    const c10::complex<double>*,
    const c10::complex<double>*,
    const int*,
    const c10::complex<double>*,
    const int*,
    const c10::complex<double>*,
    c10::complex<double>*,
    const int*);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {
namespace {

using lanes::Matrices;

bool blas_is_there() {
  return sgemm_ != nullptr && dgemm_ != nullptr && cgemm_ != nullptr && zgemm_ != nullptr;
}

void gemm(
    char a,
    char b,
    int m,
    int n,
    int k,
    const float* A,
    int row_of_A,
    const float* B,
    int row_of_B,
    float* C,
    int row_of_C) {
  const float one = 1;
  const float zero = 0;
  sgemm_(&a, &b, &m, &n, &k, &one, A, &row_of_A, B, &row_of_B, &zero, C, &row_of_C);
}
void gemm(
    char a,
    char b,
    int m,
    int n,
    int k,
    const double* A,
    int row_of_A,
    const double* B,
    int row_of_B,
    double* C,
    int row_of_C) {
  const double one = 1;
  const double zero = 0;
  dgemm_(&a, &b, &m, &n, &k, &one, A, &row_of_A, B, &row_of_B, &zero, C, &row_of_C);
}
void gemm(
    char a,
    char b,
    int m,
    int n,
    int k,
    const c10::complex<float>* A,
    int row_of_A,
    const c10::complex<float>* B,
    int row_of_B,
    c10::complex<float>* C,
    int row_of_C) {
  const c10::complex<float> one = 1;
  const c10::complex<float> zero = 0;
  cgemm_(&a, &b, &m, &n, &k, &one, A, &row_of_A, B, &row_of_B, &zero, C, &row_of_C);
}
void gemm(
    char a,
    char b,
    int m,
    int n,
    int k,
    const c10::complex<double>* A,
    int row_of_A,
    const c10::complex<double>* B,
    int row_of_B,
    c10::complex<double>* C,
    int row_of_C) {
  const c10::complex<double> one = 1;
  const c10::complex<double> zero = 0;
  zgemm_(&a, &b, &m, &n, &k, &one, A, &row_of_A, B, &row_of_B, &zero, C, &row_of_C);
}

template <typename scalar_t>
at::Tensor as_tensor(int64_t rows, int64_t columns, const Matrices<scalar_t>& x) {
  // Nothing writes to a factor.
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
    int64_t row_of_C) {
  // BLAS takes no empty ones.
  if (!blas_is_there() || m == 0 || n == 0 || k == 0) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto result = as_tensor<scalar_t>(m, n, {C, row_of_C, 1});
    at::mm_out(result, as_tensor(m, k, A), as_tensor(k, n, B));
    return;
  }
  const auto operation = [](const Matrices<scalar_t>& x) {
    return x.right == 1 ? 'N' : 'T';
  };
  const auto row = [](const Matrices<scalar_t>& x) {
    return static_cast<int>(x.right == 1 ? x.down : x.right);
  };
  const auto size = [](int64_t x) {
    return static_cast<int>(x);
  };
  // C^T = B^T A^T, column by column.
  gemm(operation(B), operation(A), size(n), size(m), size(k), B.data, row(B), A.data, row(A), C, size(row_of_C));
}

#define INSTANTIATE(scalar_t) \
  template void               \
  multiply(int64_t, int64_t, int64_t, const Matrices<scalar_t>&, const Matrices<scalar_t>&, scalar_t*, int64_t)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(c10::complex<float>);
INSTANTIATE(c10::complex<double>);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
