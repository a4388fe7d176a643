#pragma once

namespace spectralgrad::kernels {

/// Whether LibTorch contains LAPACK's getrf and getrs.
bool has_getrf();

/// Replaces the column-major n x n matrix `A` by its factors L and U, and `inverse`, n x n, by its inverse. `pivots`
/// (n) is a workspace. Returns whether A is not singular; if it is, `inverse` has no meaning. Only if `has_getrf()`.
template <typename scalar_t>
bool invert_by_lapack(int n, scalar_t* A, scalar_t* inverse, int* pivots);

} // namespace spectralgrad::kernels
