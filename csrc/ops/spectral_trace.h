#pragma once

#include "ops/eigenpairs.h"

#include <ATen/core/Tensor.h>

namespace spectralgrad::ops {

/// Returns sum_i f(lambda_i), (*), for an f given as jets. Differentiable in the jets, and four times in A.
at::Tensor spectral_trace(const Eigenpairs& pairs, const at::Tensor& jets);

} // namespace spectralgrad::ops
