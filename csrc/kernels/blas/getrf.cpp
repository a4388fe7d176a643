#include "kernels/blas/getrf.h"

#include "kernels/blas/by_type.h"

#include <algorithm>
#include <cstdint>

namespace {

template <typename scalar_t>
using Getrf = void(const int* m, const int* n, scalar_t* A, const int* lda, int* ipiv, int* info);

template <typename scalar_t>
using Getrs = void(
    const char* trans,
    const int* n,
    const int* nrhs,
    const scalar_t* A,
    const int* lda,
    const int* ipiv,
    scalar_t* B,
    const int* ldb,
    int* info);

} // namespace

// The LAPACK functions that LibTorch contains. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] Getrf<float> sgetrf_;
[[gnu::weak]] Getrf<double> dgetrf_;
[[gnu::weak]] Getrf<c10::complex<float>> cgetrf_;
[[gnu::weak]] Getrf<c10::complex<double>> zgetrf_;
[[gnu::weak]] Getrs<float> sgetrs_;
[[gnu::weak]] Getrs<double> dgetrs_;
[[gnu::weak]] Getrs<c10::complex<float>> cgetrs_;
[[gnu::weak]] Getrs<c10::complex<double>> zgetrs_;
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

bool has_getrf() {
  return cgetrf_ != nullptr && zgetrf_ != nullptr && cgetrs_ != nullptr && zgetrs_ != nullptr;
}

template <typename scalar_t>
bool invert_by_lapack(int n, scalar_t* A, scalar_t* inverse, int* pivots) {
  int info = 0;
  by_type<scalar_t>(sgetrf_, dgetrf_, cgetrf_, zgetrf_)(&n, &n, A, &n, pivots, &info);
  if (info != 0) {
    return false;
  }
  const auto size = static_cast<int64_t>(n);
  std::fill_n(inverse, size * size, scalar_t(0));
  for (int64_t i = 0; i < size; ++i) {
    inverse[i * size + i] = scalar_t(1);
  }
  const char plain = 'N';
  by_type<scalar_t>(sgetrs_, dgetrs_, cgetrs_, zgetrs_)(&plain, &n, &n, A, &n, pivots, inverse, &n, &info);
  return info == 0;
}

template bool invert_by_lapack(int, c10::complex<float>*, c10::complex<float>*, int*);
template bool invert_by_lapack(int, c10::complex<double>*, c10::complex<double>*, int*);

} // namespace spectralgrad::kernels
