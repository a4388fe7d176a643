#pragma once

#include "core/scalar_traits.h"

namespace spectralgrad::kernels {

/// Whether LibTorch contains LAPACK.
bool has_lapack();

/// The sizes of LAPACK's workspaces, in entries. With -1, LAPACK only returns the sizes that it needs.
struct SyevdSizes {
  int work = -1;
  int real = -1;
  int integer = -1;
};

/// Calls LAPACK's syevd, or heevd for complex matrices, which do not use `reals` and use it. Returns `info`. Only if
/// `has_lapack()`.
template <typename scalar_t, typename real_t = typename RealOf<scalar_t>::type>
int syevd(
    char job,
    char uplo,
    int n,
    scalar_t* A,
    real_t* eigenvalues,
    scalar_t* work,
    real_t* reals,
    int* integers,
    const SyevdSizes& sizes);

} // namespace spectralgrad::kernels
