#pragma once

#include "ops/hermitian_decomposition.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// The operator `spectralgrad::eigh` with its derivatives, for kernels of the Autograd key. `method` is explained in
/// ops/hermitian_decomposition.h. `only_eigenvalues`: the caller drops the eigenvectors, so they need no tangent.
std::tuple<at::Tensor, at::Tensor> differentiable_eigh(
    const at::Tensor& A,
    std::string_view UPLO,
    const Rule& rule,
    MethodName method,
    bool only_eigenvalues = false);

} // namespace spectralgrad::ops
