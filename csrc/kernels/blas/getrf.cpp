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

SPECTRALGRAD_BY_TYPE(lapack_getrf, getrf, Getrf, getrf, Getrf);
SPECTRALGRAD_BY_TYPE(lapack_getrs, getrs, Getrs, getrs, Getrs);

namespace spectralgrad::kernels {

bool has_getrf() {
  return lapack_getrf.is_present() && lapack_getrs.is_present();
}

template <typename scalar_t>
bool invert_by_lapack(int n, scalar_t* A, scalar_t* inverse, int* pivots) {
  int info = 0;
  lapack_getrf.of<scalar_t>()(&n, &n, A, &n, pivots, &info);
  if (info != 0) {
    return false;
  }
  const auto size = static_cast<int64_t>(n);
  std::fill_n(inverse, size * size, scalar_t(0));
  for (int64_t i = 0; i < size; ++i) {
    inverse[i * size + i] = scalar_t(1);
  }
  const char plain = 'N';
  lapack_getrs.of<scalar_t>()(&plain, &n, &n, A, &n, pivots, inverse, &n, &info);
  return info == 0;
}

template bool invert_by_lapack(int, c10::complex<float>*, c10::complex<float>*, int*);
template bool invert_by_lapack(int, c10::complex<double>*, c10::complex<double>*, int*);

} // namespace spectralgrad::kernels
