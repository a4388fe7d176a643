#pragma once

#include "kernels/eigh_vjp/eigh_vjp_inputs.h"

#include <spectralgrad/rule.h>

namespace spectralgrad::kernels {

/// The vjp of eigh by matrix products, with a pass between them that divides by gaps. For matrices of any size.
at::Tensor eigh_vjp_by_products(const Inputs& inputs, const Rule& rule);

} // namespace spectralgrad::kernels
