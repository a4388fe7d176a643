#pragma once

#include "kernels/generalized_eigh_vjp/generalized_gradients.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// Whether there is a kernel for the eigenvectors `V`.
bool supports_generalized_vjp(const at::Tensor& V);

/// The gradients of math/generalized_eigh.h for CPU matrices, not empty. One cotangent may be undefined. `dual` is
/// V^-H (*, n, n), undefined for type 1. `B_diagonal` (*, n) is real.
GeneralizedGradients generalized_eigh_vjp(
    const at::Tensor& eigenvalues_cotangent,
    const at::Tensor& eigenvectors_cotangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& B_diagonal,
    const at::Tensor& dual,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule);

} // namespace spectralgrad::kernels
