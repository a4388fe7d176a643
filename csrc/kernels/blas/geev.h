#pragma once

#include "core/scalar_traits.h"

namespace spectralgrad::kernels {

/// Whether LibTorch contains LAPACK's geev.
bool has_geev();

/// Calls LAPACK's geev with column-major n x n matrices: A, which it overwrites, and V. Real matrices write the real
/// parts of the eigenvalues to `values` and the imaginary parts to `imaginary`; a pair of complex eigenvectors takes
/// two columns of V. Complex matrices write to `values` and need 2 n `reals`. V is not written without `vectors`. With
/// `work_size` -1, only writes the size that it needs to `work`. Returns `info`. Only if `has_geev()`.
template <typename scalar_t, typename real_t = typename RealOf<scalar_t>::type>
int geev(
    bool vectors,
    int n,
    scalar_t* A,
    scalar_t* values,
    real_t* imaginary,
    scalar_t* V,
    scalar_t* work,
    int work_size,
    real_t* reals);

} // namespace spectralgrad::kernels
