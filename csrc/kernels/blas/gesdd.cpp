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

template <typename real_t>
using ComplexGesdd = void(
    const char* jobz,
    const int* m,
    const int* n,
    c10::complex<real_t>* A,
    const int* lda,
    real_t* s,
    c10::complex<real_t>* U,
    const int* ldu,
    c10::complex<real_t>* vt,
    const int* ldvt,
    c10::complex<real_t>* work,
    const int* lwork,
    real_t* rwork,
    int* iwork,
    int* info);

} // namespace

// The LAPACK functions that LibTorch contains. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] RealGesdd<float> sgesdd_;
[[gnu::weak]] RealGesdd<double> dgesdd_;
[[gnu::weak]] ComplexGesdd<float> cgesdd_;
[[gnu::weak]] ComplexGesdd<double> zgesdd_;
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

bool has_gesdd() {
  return sgesdd_ != nullptr && dgesdd_ != nullptr && cgesdd_ != nullptr && zgesdd_ != nullptr;
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
  auto* const solve = by_type<scalar_t>(sgesdd_, dgesdd_, cgesdd_, zgesdd_);
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
