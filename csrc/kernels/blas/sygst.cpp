#include "kernels/blas/sygst.h"

#include "kernels/blas/by_type.h"

namespace {

template <typename scalar_t>
using Potrf = void(const char* uplo, const int* n, scalar_t* A, const int* lda, int* info);

template <typename scalar_t>
using Sygst = void(
    const int* itype,
    const char* uplo,
    const int* n,
    scalar_t* A,
    const int* lda,
    const scalar_t* B,
    const int* ldb,
    int* info);

/// trsm and trmm have one signature.
template <typename scalar_t>
using Triangular = void(
    const char* side,
    const char* uplo,
    const char* transa,
    const char* diag,
    const int* m,
    const int* n,
    const scalar_t* alpha,
    const scalar_t* A,
    const int* lda,
    scalar_t* B,
    const int* ldb);

} // namespace

// The functions that LibTorch contains. The symbols are weak, because a build of LibTorch may lack LAPACK.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] Potrf<float> spotrf_;
[[gnu::weak]] Potrf<double> dpotrf_;
[[gnu::weak]] Potrf<c10::complex<float>> cpotrf_;
[[gnu::weak]] Potrf<c10::complex<double>> zpotrf_;
[[gnu::weak]] Sygst<float> ssygst_;
[[gnu::weak]] Sygst<double> dsygst_;
[[gnu::weak]] Sygst<c10::complex<float>> chegst_;
[[gnu::weak]] Sygst<c10::complex<double>> zhegst_;
[[gnu::weak]] Triangular<float> strsm_;
[[gnu::weak]] Triangular<double> dtrsm_;
[[gnu::weak]] Triangular<c10::complex<float>> ctrsm_;
[[gnu::weak]] Triangular<c10::complex<double>> ztrsm_;
[[gnu::weak]] Triangular<float> strmm_;
[[gnu::weak]] Triangular<double> dtrmm_;
[[gnu::weak]] Triangular<c10::complex<float>> ctrmm_;
[[gnu::weak]] Triangular<c10::complex<double>> ztrmm_;
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {

bool has_sygst() {
  const bool reduces = spotrf_ != nullptr && dpotrf_ != nullptr && cpotrf_ != nullptr && zpotrf_ != nullptr &&
      ssygst_ != nullptr && dsygst_ != nullptr && chegst_ != nullptr && zhegst_ != nullptr;
  const bool restores = strsm_ != nullptr && dtrsm_ != nullptr && ctrsm_ != nullptr && ztrsm_ != nullptr &&
      strmm_ != nullptr && dtrmm_ != nullptr && ctrmm_ != nullptr && ztrmm_ != nullptr;
  return reduces && restores;
}

template <typename scalar_t>
int32_t potrf(int n, scalar_t* B) {
  int info = 0;
  by_type<scalar_t>(spotrf_, dpotrf_, cpotrf_, zpotrf_)("U", &n, B, &n, &info);
  return info;
}

template <typename scalar_t>
void sygst(int itype, int n, scalar_t* A, const scalar_t* U) {
  int info = 0;
  by_type<scalar_t>(ssygst_, dsygst_, chegst_, zhegst_)(&itype, "U", &n, A, &n, U, &n, &info);
}

template <typename scalar_t>
void solve_upper(int n, const scalar_t* U, scalar_t* X) {
  const scalar_t one(1);
  by_type<scalar_t>(strsm_, dtrsm_, ctrsm_, ztrsm_)("L", "U", "N", "N", &n, &n, &one, U, &n, X, &n);
}

template <typename scalar_t>
void multiply_by_adjoint(int n, const scalar_t* U, scalar_t* X) {
  const scalar_t one(1);
  by_type<scalar_t>(strmm_, dtrmm_, ctrmm_, ztrmm_)("L", "U", "C", "N", &n, &n, &one, U, &n, X, &n);
}

#define INSTANTIATE(scalar_t)                                 \
  template int32_t potrf(int, scalar_t*);                     \
  template void sygst(int, int, scalar_t*, const scalar_t*);  \
  template void solve_upper(int, const scalar_t*, scalar_t*); \
  template void multiply_by_adjoint(int, const scalar_t*, scalar_t*)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(c10::complex<float>);
INSTANTIATE(c10::complex<double>);
#undef INSTANTIATE

} // namespace spectralgrad::kernels
