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

bool has_lapack() {
  return ssyevd_ != nullptr && dsyevd_ != nullptr && cheevd_ != nullptr && zheevd_ != nullptr;
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
  auto* const solve = by_type<scalar_t>(ssyevd_, dsyevd_, cheevd_, zheevd_);
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
