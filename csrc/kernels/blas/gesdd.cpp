#include "kernels/blas/gesdd.h"

#include "kernels/blas/by_type.h"

#include <algorithm>

namespace {

template <typename real_t>
using RealGesdd = void(
    const char* jobz,
    const int* m,
    const int* n,
    real_t* A,
    const int* lda,
    real_t* s,
    real_t* U,
    const int* ldu,
    real_t* vt,
    const int* ldvt,
    real_t* work,
    const int* lwork,
    int* iwork,
    int* info);

template <typename scalar_t, typename real_t = typename spectralgrad::RealOf<scalar_t>::type>
using ComplexGesdd = void(
    const char* jobz,
    const int* m,
    const int* n,
    scalar_t* A,
    const int* lda,
    real_t* s,
    scalar_t* U,
    const int* ldu,
    scalar_t* vt,
    const int* ldvt,
    scalar_t* work,
    const int* lwork,
    real_t* rwork,
    int* iwork,
    int* info);

} // namespace

SPECTRALGRAD_BY_TYPE(lapack_gesdd, gesdd, RealGesdd, gesdd, ComplexGesdd);

namespace spectralgrad::kernels {

bool has_gesdd() {
  return lapack_gesdd.is_present();
}

int64_t GesddProblem::reals(bool is_complex) const {
  if (!is_complex) {
    return 0;
  }
  const auto least = static_cast<int64_t>(std::min(m, n));
  const auto most = static_cast<int64_t>(std::max(m, n));
  // LAPACK's documentation asks for 5 `least` without vectors. Versions before 3.6 use 7.
  return has_vectors() ? least * std::max(5 * least + 7, 2 * most + 2 * least + 1) : 7 * least;
}

template <typename scalar_t, typename real_t>
int gesdd(
    const GesddProblem& problem,
    scalar_t* A,
    real_t* singular_values,
    scalar_t* U,
    scalar_t* Vh,
    scalar_t* work,
    int work_size,
    real_t* reals,
    int* integers) {
  auto* const solve = lapack_gesdd.of<scalar_t>();
  const auto& [job, m, n] = problem;
  const int rows_of_Vh = std::max(1, problem.rows_of_Vh());
  int info = 0;
  if constexpr (parts_of<scalar_t> == 1) {
    solve(&job, &m, &n, A, &m, singular_values, U, &m, Vh, &rows_of_Vh, work, &work_size, integers, &info);
  } else {
    solve(&job, &m, &n, A, &m, singular_values, U, &m, Vh, &rows_of_Vh, work, &work_size, reals, integers, &info);
  }
  return info;
}

#define INSTANTIATE(scalar_t, real_t) \
  template int gesdd(const GesddProblem&, scalar_t*, real_t*, scalar_t*, scalar_t*, scalar_t*, int, real_t*, int*)
INSTANTIATE(float, float);
INSTANTIATE(double, double);
INSTANTIATE(c10::complex<float>, float);
INSTANTIATE(c10::complex<double>, double);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
