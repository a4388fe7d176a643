#include "kernels/blas/geev.h"

#include "kernels/blas/by_type.h"

namespace {

template <typename real_t>
using RealGeev = void(
    const char* jobvl,
    const char* jobvr,
    const int* n,
    real_t* A,
    const int* lda,
    real_t* wr,
    real_t* wi,
    real_t* vl,
    const int* ldvl,
    real_t* vr,
    const int* ldvr,
    real_t* work,
    const int* lwork,
    int* info);

template <typename real_t>
using ComplexGeev = void(
    const char* jobvl,
    const char* jobvr,
    const int* n,
    c10::complex<real_t>* A,
    const int* lda,
    c10::complex<real_t>* w,
    c10::complex<real_t>* vl,
    const int* ldvl,
    c10::complex<real_t>* vr,
    const int* ldvr,
    c10::complex<real_t>* work,
    const int* lwork,
    real_t* rwork,
    int* info);

} // namespace

// The LAPACK functions that LibTorch contains. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] RealGeev<float> sgeev_;
[[gnu::weak]] RealGeev<double> dgeev_;
[[gnu::weak]] ComplexGeev<float> cgeev_;
[[gnu::weak]] ComplexGeev<double> zgeev_;
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

bool has_geev() {
  return sgeev_ != nullptr && dgeev_ != nullptr && cgeev_ != nullptr && zgeev_ != nullptr;
}

template <typename scalar_t, typename real_t>
int geev(
    bool vectors,
    int n,
    scalar_t* A,
    scalar_t* values,
    real_t* imaginary,
    scalar_t* V,
    scalar_t* work,
    int work_size,
    real_t* reals) {
  auto* const solve = by_type<scalar_t>(sgeev_, dgeev_, cgeev_, zgeev_);
  const char left = 'N';
  const char right = vectors ? 'V' : 'N';
  int info = 0;
  if constexpr (parts_of<scalar_t> == 1) {
    solve(&left, &right, &n, A, &n, values, imaginary, nullptr, &n, V, &n, work, &work_size, &info);
  } else {
    solve(&left, &right, &n, A, &n, values, nullptr, &n, V, &n, work, &work_size, reals, &info);
  }
  return info;
}

#define INSTANTIATE(scalar_t, real_t) \
  template int geev(bool, int, scalar_t*, scalar_t*, real_t*, scalar_t*, scalar_t*, int, real_t*)
INSTANTIATE(float, float);
INSTANTIATE(double, double);
INSTANTIATE(c10::complex<float>, float);
INSTANTIATE(c10::complex<double>, double);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
