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

SPECTRALGRAD_BY_TYPE(lapack_potrf, potrf, Potrf, potrf, Potrf);
SPECTRALGRAD_BY_TYPE(lapack_sygst, sygst, Sygst, hegst, Sygst);
SPECTRALGRAD_BY_TYPE(blas_trsm, trsm, Triangular, trsm, Triangular);
SPECTRALGRAD_BY_TYPE(blas_trmm, trmm, Triangular, trmm, Triangular);

namespace spectralgrad::kernels {

bool has_sygst() {
  return lapack_potrf.is_present() && lapack_sygst.is_present() && blas_trsm.is_present() && blas_trmm.is_present();
}

template <typename scalar_t>
int32_t potrf(int n, scalar_t* B) {
  int info = 0;
  lapack_potrf.of<scalar_t>()("U", &n, B, &n, &info);
  return info;
}

template <typename scalar_t>
void sygst(int itype, int n, scalar_t* A, const scalar_t* U) {
  int info = 0;
  lapack_sygst.of<scalar_t>()(&itype, "U", &n, A, &n, U, &n, &info);
}

template <typename scalar_t>
void solve_upper(int n, const scalar_t* U, scalar_t* X) {
  const scalar_t one(1);
  blas_trsm.of<scalar_t>()("L", "U", "N", "N", &n, &n, &one, U, &n, X, &n);
}

template <typename scalar_t>
void multiply_by_adjoint(int n, const scalar_t* U, scalar_t* X) {
  const scalar_t one(1);
  blas_trmm.of<scalar_t>()("L", "U", "C", "N", &n, &n, &one, U, &n, X, &n);
}

// NOLINTBEGIN(bugprone-macro-parentheses): types cannot be in parentheses.
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
// NOLINTEND(bugprone-macro-parentheses)

} // namespace spectralgrad::kernels
