#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::kernels {

/// Whether `lapack_eigh` is the better choice for matrices (*, n, n) on the CPU than `at::_linalg_eigh`, which decomposes one
/// after the other, each with all of LAPACK's threads.
bool use_lapack_eigh(const at::Tensor& A);

/// Eigenvalues and, if asked for, eigenvectors (else undefined) of Hermitian matrices on the CPU, by LAPACK's syevd and heevd: the
/// batch in parallel, each matrix with one thread and at the same alignment, so that its result, to the bit, does not depend on
/// its place in the batch nor on the number of threads. Raises `c10::LinAlgError`, in the name of `function`, where LAPACK does
/// not converge.
std::tuple<at::Tensor, at::Tensor> lapack_eigh(
    const char* function,
    const at::Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors);

} // namespace spectralgrad::kernels
