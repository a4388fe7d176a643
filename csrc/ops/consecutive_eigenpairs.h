#pragma once

#include "core/optional_tensor.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// Returns the eigenvalues (*, c) and eigenvectors (*, n, c) with the indices `start` <= i < `stop` of `A` (*, n, n),
/// as differentiable functions of A. 0 <= start <= stop <= n. Raises the errors of `eigh`, which name `function`.
///
/// With `B`, of the same shape, positive definite: those of A x = lambda B x, with V^H B V = 1.
std::tuple<at::Tensor, at::Tensor> consecutive_eigenpairs(
    const char* function,
    const at::Tensor& A,
    const OptionalTensor& B,
    const c10::SymInt& start,
    const c10::SymInt& stop,
    std::string_view UPLO,
    const Rule& rule);

} // namespace spectralgrad::ops
