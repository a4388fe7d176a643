#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::ops {

/// `math::spectral_function` for CPU tensors. Values and first derivatives of small matrices are computed in one pass,
/// one matrix in each SIMD lane, including the differences of closed forms. Everything else is computed by tensor code.
at::Tensor spectral_function_on_cpu(
    const math::ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

} // namespace spectralgrad::ops
