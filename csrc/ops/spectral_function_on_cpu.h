#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::ops {

/// `math::spectral_function` for CPU tensors. Values and first derivatives of small matrices take one pass, with one
/// matrix in each lane of a SIMD register, which includes the differences of closed forms. Tensor code does the rest.
at::Tensor spectral_function_on_cpu(
    const math::ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const std::vector<at::Tensor>& directions);

} // namespace spectralgrad::ops
