#pragma once

#include "kernels/canonical_gauge/canonical_frame.h"

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad::ops {

/// `kernels::canonical_frame` as an operator. Its results are constants of any differentiation.
kernels::CanonicalFrame canonical_frame(const at::Tensor& L, const at::Tensor& V, std::optional<double> rtol);

/// Returns `frame.vectors` as a differentiable function of V (math/canonical_gauge.h). The frame is that of V.
at::Tensor in_canonical_gauge(const at::Tensor& V, const kernels::CanonicalFrame& frame);

} // namespace spectralgrad::ops
