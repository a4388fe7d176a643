#pragma once

#include "math/eigh_vjp.h"

namespace spectralgrad::ops {

/// `math::eigh_vjp_jvp` as an operator. If no tangent is defined, neither is the result.
at::Tensor eigh_vjp_jvp(const math::EighVjpArguments& tangents, const math::EighVjpArguments& x, const Rule& rule);

} // namespace spectralgrad::ops
