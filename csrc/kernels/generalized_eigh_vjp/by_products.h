#pragma once

#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/generalized_eigh_vjp/generalized_gradients.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace spectralgrad::kernels {

/// `generalized_eigh_vjp` by matrix products, with the division by gaps of `eigh_vjp` between them. Reports losses
/// without a gradient itself. `U` is V^-H, laid out as V; undefined for type 1.
/// `B_diagonal` (*, n) is row-major.
GeneralizedGradients generalized_vjp_by_products(
    const Inputs& inputs,
    const at::Tensor& B_diagonal,
    const at::Tensor& U,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule);

} // namespace spectralgrad::kernels
