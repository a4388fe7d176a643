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

template <typename scalar_t, typename real_t = typename spectralgrad::RealOf<scalar_t>::type>
using ComplexGeev = void(
    const char* jobvl,
    const char* jobvr,
    const int* n,
    scalar_t* A,
    const int* lda,
    scalar_t* w,
    scalar_t* vl,
    const int* ldvl,
    scalar_t* vr,
    const int* ldvr,
    scalar_t* work,
    const int* lwork,
    real_t* rwork,
    int* info);

} // namespace

SPECTRALGRAD_BY_TYPE(lapack_geev, geev, RealGeev, geev, ComplexGeev);

namespace spectralgrad::kernels {

bool has_geev() {
  return lapack_geev.is_present();
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
  auto* const solve = lapack_geev.of<scalar_t>();
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

// A type cannot be in parentheses. NOLINTBEGIN(bugprone-macro-parentheses)
#define INSTANTIATE(scalar_t, real_t) \
  template int geev(bool, int, scalar_t*, scalar_t*, real_t*, scalar_t*, scalar_t*, int, real_t*)
INSTANTIATE(float, float);
INSTANTIATE(double, double);
INSTANTIATE(c10::complex<float>, float);
INSTANTIATE(c10::complex<double>, double);
#undef INSTANTIATE
// NOLINTEND(bugprone-macro-parentheses)

} // namespace spectralgrad::kernels
