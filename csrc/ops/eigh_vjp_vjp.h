#pragma once

#include "math/eigh_vjp.h"

namespace spectralgrad::ops {

/// `math::eigh_vjp_vjp` as an operator.
math::EighVjpArguments eigh_vjp_vjp(const at::Tensor& cotangent, const math::EighVjpArguments& x, const Rule& rule);

} // namespace spectralgrad::ops
