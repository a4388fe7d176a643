#include "kernels/blas/syevd.h"

#include "kernels/blas/by_type.h"

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

template <typename scalar_t, typename real_t = typename spectralgrad::RealOf<scalar_t>::type>
using Heevd = void(
    const char* jobz,
    const char* uplo,
    const int* n,
    scalar_t* A,
    const int* lda,
    real_t* w,
    scalar_t* work,
    const int* lwork,
    real_t* rwork,
    const int* lrwork,
    int* iwork,
    const int* liwork,
    int* info);

} // namespace

SPECTRALGRAD_BY_TYPE(lapack_syevd, syevd, Syevd, heevd, Heevd);

namespace spectralgrad::kernels {

bool has_lapack() {
  return lapack_syevd.is_present();
}

template <typename scalar_t, typename real_t>
int syevd(
    char job,
    char uplo,
    int n,
    scalar_t* A,
    real_t* eigenvalues,
    scalar_t* work,
    real_t* reals,
    int* integers,
    const SyevdSizes& sizes) {
  auto* const solve = lapack_syevd.of<scalar_t>();
  int info = 0;
  if constexpr (parts_of<scalar_t> == 1) {
    solve(&job, &uplo, &n, A, &n, eigenvalues, work, &sizes.work, integers, &sizes.integer, &info);
  } else {
    solve(&job, &uplo, &n, A, &n, eigenvalues, work, &sizes.work, reals, &sizes.real, integers, &sizes.integer, &info);
  }
  return info;
}

#define INSTANTIATE(scalar_t, real_t) \
  template int syevd(char, char, int, scalar_t*, real_t*, scalar_t*, real_t*, int*, const SyevdSizes&)
INSTANTIATE(float, float);
INSTANTIATE(double, double);
INSTANTIATE(c10::complex<float>, float);
INSTANTIATE(c10::complex<double>, double);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
