#pragma once

#include <cstdint>

// The reduction of a generalized Hermitian problem by the Cholesky factor U of B = U^H U, with LAPACK and BLAS. All
// matrices are n x n and column-major; of Hermitian ones, only the upper triangle is read and written.
namespace spectralgrad::kernels {

/// Whether LibTorch contains these functions.
bool has_sygst();

/// Overwrites B with U. Returns 0, or the order of the first minor that is not positive.
template <typename scalar_t>
int32_t potrf(int n, scalar_t* B);

/// Overwrites A with U^-H A U^-1 for type 1 and U A U^H for types 2 and 3.
template <typename scalar_t>
void sygst(int itype, int n, scalar_t* A, const scalar_t* U);

/// Overwrites X with U^-1 X.
template <typename scalar_t>
void solve_upper(int n, const scalar_t* U, scalar_t* X);

/// Overwrites X with U^H X.
template <typename scalar_t>
void multiply_by_adjoint(int n, const scalar_t* U, scalar_t* X);

} // namespace spectralgrad::kernels
